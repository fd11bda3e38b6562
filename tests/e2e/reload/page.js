/*
 * page.js URL: a page in a headless Chromium; what it says in its console comes out here, as "page NUMBER", or "reloaded" if it isn't the
 * page that it was. Over a pipe, by the DevTools protocol.
 */
const { spawn } = require("child_process");
const { mkdtempSync } = require("fs");
const profile = mkdtempSync(require("os").tmpdir() + "/chromium.");
const chromium = spawn(
        "chromium-headless-shell",
        ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--log-level=3", "--remote-debugging-pipe", "--user-data-dir=" + profile],
        { stdio: ["ignore", "ignore", "inherit", "pipe", "pipe"] }
);
const answers = new Map();
let last = 0, text = "", mark;

function ask(method, params, sessionId) {
        chromium.stdio[3].write(JSON.stringify({ id: ++last, method, params, sessionId }) + "\0");
        return new Promise((resolve) => answers.set(last, resolve));
}

function said(args) {
        if (args[0].value !== "page")
                return;
        mark = mark ?? args[2].value;
        console.error(mark === args[2].value ? "page" : "reloaded", args[1].value);
}

chromium.stdio[4].on("data", (data) => {
        const messages = (text + data).split("\0");

        text = messages.pop();
        for (const message of messages.map((m) => JSON.parse(m))) {
                if (message.method === "Runtime.consoleAPICalled")
                        said(message.params.args);
                else if (message.error)
                        throw new Error(message.error.message);
                else if (answers.has(message.id))
                        answers.get(message.id)(message.result);
        }
});
chromium.on("exit", (code) => process.exit(code ?? 1));
process.on("SIGTERM", () => chromium.kill());

(async () => {
        const { targetId } = await ask("Target.createTarget", { url: "about:blank" });
        const { sessionId } = await ask("Target.attachToTarget", { targetId, flatten: true });

        await ask("Runtime.enable", {}, sessionId);
        await ask("Page.navigate", { url: process.argv[2] }, sessionId);
})();
