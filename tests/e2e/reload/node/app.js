console.log("running EDIT");
setInterval(() => {}, 1000);
