import { number } from "./app.js";

// A page that was loaded anew has another.
window.mark = Math.random();
console.log("page", number, window.mark);
import.meta.hot.accept("./app.js", (app) => console.log("page", app.number, window.mark));
