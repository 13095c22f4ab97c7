#!/bin/sh
# Runs the stages of a bake, or of its sealing, each with a deadline of its own, and says how it ended.
# Usage: run.sh bake|seal. Writes beside itself KIND.progress and KIND.log, and KIND.json when it is over.
set -eu
kind=$1
bake=$(cd "$(dirname "$0")" && pwd)
root=${EVERGREEN_ROOT-}
export bake root kind stage
log=$bake/$kind.log
progress=$bake/$kind.progress

# One line of JSON text: what is no printable ASCII becomes a blank, for a log may have any bytes.
quote() {
  LC_ALL=C tr -c '\040-\176\n' ' ' | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^/"/' -e 's/$/"/'
}

# The last lines as the elements of a JSON list.
quote_lines() {
  tail -n 30 | cut -c 1-400 | quote | paste -s -d , -
}

report() {
  printf '%s\n' "$1" >"$bake/$kind.json.new"
  mv "$bake/$kind.json.new" "$bake/$kind.json"
}

# The trace (set -x) names the command that failed: the last one that was begun.
report_failure() {
  code=$1 seconds=$2 output=$3
  why="exit code $code"
  case $code in 124 | 137) why="not done after $seconds s" ;; esac
  command=$(sed -n 's/^+\{1,\} //p' "$output" | tail -n 1 | cut -c 1-400 | quote)
  facts="\"stage\":\"$stage\",\"command\":${command:-\"\"},\"why\":\"$why\""
  report "{\"status\":\"failed\",$facts,\"output\":[$(quote_lines <"$output")]}"
}

mkdir -p "$bake/output"
rm -f "$bake/$kind.json"
: >"$progress"
while read -r stage seconds; do
  printf '%s %s\n' "$(cut -d ' ' -f 1 /proc/uptime)" "$stage" >>"$progress"
  output=$bake/output/$kind-$stage
  code=0
  # shellcheck disable=SC2016 # the shell of the stage expands them
  timeout -k 10 "$seconds" sh -eu -c '. "$bake/lib.sh"; set -x; . "$bake/stages/$kind/$stage.sh"' \
    >"$output" 2>&1 </dev/null || code=$?
  printf '== %s\n' "$stage" | cat - "$output" >>"$log"
  if [ "$code" -ne 0 ]; then
    report_failure "$code" "$seconds" "$output"
    exit 1
  fi
done <"$bake/lists/stages.$kind"
printf '%s finished\n' "$(cut -d ' ' -f 1 /proc/uptime)" >>"$progress"
report '{"status":"ok"}'
