const { readFileSync } = require("fs");
const watcher = require("chokidar").watch("app.txt");

watcher.on("change", (path) => console.log("heard", readFileSync(path, "utf8").trim()));
watcher.on("ready", () => console.log("ready"));
