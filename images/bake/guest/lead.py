"""Prints the etcd member that may take the leadership over from this one, as etcdctl names it, or nothing.

Arguments: the JSON of `etcdctl endpoint status` and of `etcdctl member list`.
"""

import json
import sys

with open(sys.argv[1]) as file:
    status = json.load(file)[0]["Status"]
with open(sys.argv[2]) as file:
    members = json.load(file)["members"]
own = status["header"]["member_id"]
voters = sorted(member["ID"] for member in members if not member.get("isLearner") and member.get("name"))
if status["leader"] == own:
    print(*(format(member, "x") for member in [voter for voter in voters if voter != own][:1]))
