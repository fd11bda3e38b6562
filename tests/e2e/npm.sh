# Steps of test_npm.c: what tests/e2e/npm/package-lock.json names, installed from the registry that npm is configured for, and at work.
. "$E2E/npm_cache.sh"

fetch() {
        fetch_locked npm
}

install() {
        cp "$E2E"/npm/package*.json .
        npm_ci
}

# Everything is there as the lockfile says.
list() {
        npm ls --all --offline
        # A tool, as npm itself runs it.
        npx --offline sass --version
}

run_tools() {
        mkdir -p src
        printf '$c: #123456;\n@mixin b { border: 1px solid $c; }\n.a { .b { color: darken($c, 10%%); @include b; } }\n' >src/style.scss
        printf '@c: #123456;\n.a { .b { color: darken(@c, 10%%); } }\n' >src/style.less
        printf 'export const add = (a, b) => a + b;\nexport const unused = 1;\n' >src/add.js
        printf 'import { add } from "./add.js";\nconsole.log(add(1, 2));\n' >src/main.js
        printf 'const a = require("assert");\ndescribe("sum", () => { it("adds", () => a.equal(require("lodash").sum([1, 2]), 3)); });\n' >test.js
        sass --no-source-map src/style.scss out/sass.css
        lessc src/style.less out/less.css
        rollup src/main.js --file out/bundle.js --format cjs --silent
        node out/bundle.js
        mocha --reporter dot test.js | sed -E 's/\([0-9]+m?s\)//'
        eslint --no-eslintrc --parser-options=sourceType:module,ecmaVersion:2020 src
        node -e 'const r = require("react"), s = require("react-dom/server"); console.log(s.renderToString(r.createElement("p", null, "x")))'
        node -e 'require("express")(); console.log(Object.keys(require("express")).length)'
        cat out/*
}

# The lockfile and the tree lose what only these needed.
uninstall() {
        npm uninstall --ignore-scripts --offline less mocha >/dev/null
        npm ls --offline
}

remove() {
        rm -r node_modules
}

"$@"
