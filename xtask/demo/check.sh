#!/bin/sh
# The demo project's "tests": every greeting must greet somebody.
status=0
for file in greetings/*; do
    if grep -q 'hello [a-z]' "$file"; then
        echo "ok    $file: $(cat "$file")"
    else
        echo "wrong $file: $(cat "$file")" >&2
        status=1
    fi
done
exit $status
