# Steps of test_reload.c: programs that wait for inotify events in the mount, as they are, without polling; $1 is the same tree on the host,
# where it is edited.
. "$E2E/npm_cache.sh"

EDITS=5
PATIENCE=60

install() {
        cp "$E2E"/npm/package*.json .
        npm_ci
        printf 'console.log("running 0");\nsetInterval(() => {}, 1000);\n' >app.js
        printf 'first\n' >log.txt
        mkdir -p seen
        printf 'const w = require("chokidar").watch("seen", {ignoreInitial: true}); w.on("all", (e, p) => console.log(e, p));
w.on("ready", () => console.log("ready"));\n' >look.js
}

# await FILE TEXT: until a line with the text is in it.
await() {
        if ! timeout "$PATIENCE" grep -qFm1 -e "$2" < <(exec tail -n +1 -f --pid=$$ "$1"); then
                echo "waited in vain for: $2; there is:"
                cat "$1"
                return 1
        fi
}

# watch NAME READY ANSWER EDIT COMMAND…: start it; once it says READY, EDIT N on the host has to be answered with ANSWER N, and each edit once.
watch() {
        local name=$1 ready=$2 answer=$3 edit=$4 log pid n began said
        shift 4
        log=$E2E_LOGS/$name
        : >"$log"
        setsid "$@" >"$log" 2>&1 </dev/null &
        pid=$!
        await "$log" "$ready"
        for n in $(seq "$EDITS"); do
                began=$(date +%s%N)
                "$edit" "$n"
                await "$log" "$answer $n"
                echo "$name: edit $n after $((($(date +%s%N) - began) / 1000000)) ms" >&2
        done
        kill -- -"$pid"
        wait "$pid" || true
        said=$(grep -cEe "^$answer [1-9]" "$log")
        [ "$said" = "$EDITS" ] || { echo "$name: $EDITS edits, $said answers"; cat "$log"; return 1; }
        echo "$name: once each"
}

save() {
        printf "$1" >"$host/.$2.new"
        mv "$host/.$2.new" "$host/$2"
}

edit_app() { printf 'console.log("running %d");\nsetInterval(() => {}, 1000);\n' "$1" >"$host/app.js"; }
edit_log() { printf 'line %d\n' "$1" >>"$host/log.txt"; }
edit_seen() { printf '%d' "$1" >"$host/seen/number $1"; }
edit_saved() { save "$1" "saved $1"; }

all() {
        host=$1
        E2E_LOGS=$(mktemp -d "$E2E_CACHE/reload.XXXXXX")
        watch inotifywait "Watches established." "saved" edit_saved inotifywait -m -e moved_to --format %f .
        watch tail first line edit_log tail -n +1 -f log.txt
        watch node-watch "running 0" running edit_app node --watch app.js
        watch chokidar ready "add seen/number" edit_seen node look.js
        rm -r "$E2E_LOGS"
}

"$@"
