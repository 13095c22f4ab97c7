#!/bin/sh
# Stands for RKE2's own script: nothing runs outside of the units here.
rm -rf /run/k3s
