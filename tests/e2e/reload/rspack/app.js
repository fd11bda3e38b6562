console.log("built EDIT");
