const { readFileSync } = require("fs");

// Says what is in each bundle, once it is written.
const say = {
        apply(compiler) {
                compiler.hooks.done.tap("say", () => console.log(/built \d+/.exec(readFileSync("dist/main.js", "utf8"))[0]));
        },
};

module.exports = { mode: "development", devtool: false, entry: "./main.js", plugins: [say] };
