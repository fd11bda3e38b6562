const { rspack } = require("@rspack/core");
const { readFileSync } = require("fs");

// Its own watcher is Rust's notify, as that of watchfiles, deno and cargo-watch.
const experiments = { nativeWatcher: true };

rspack({ mode: "development", devtool: false, entry: "./main.js", experiments }).watch({}, (error) => {
        if (error)
                throw error;
        console.log(/built \d+/.exec(readFileSync("dist/main.js", "utf8"))[0]);
});
