const { readFileSync } = require("fs");
const { subscribe } = require("@parcel/watcher");

subscribe(process.cwd(), (error, events) => {
        if (error)
                throw error;
        for (const event of events.filter((e) => e.path.endsWith("/app.txt")))
                console.log("heard", readFileSync(event.path, "utf8").trim());
}).then(() => console.log("ready"));
