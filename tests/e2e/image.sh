# Steps of test_image.c: a container image in which node_modules has been installed, and a checkout of the same without.
. "$E2E/npm_cache.sh"

checkout() {
        cp "$E2E"/npm/package*.json .
        printf 'version: 1\nartifacts:\n  - path: node_modules/\n    key: [package-lock.json]\n' >dsfs.yaml
}

build() {
        mkdir -p image/app/empty
        cp "$E2E"/npm/package*.json image/app
        (cd image/app && npm_ci)
        ln -s app/node_modules image/link
        tar -C image -c . | docker import - dsfs-e2e:1 >/dev/null
}

# Nothing is asked for, nothing is missing.
installed() {
        npm ls --all --offline >/dev/null
        npm install --offline --ignore-scripts | grep -o 'up to date'
        node -e 'console.log(require("lodash").sum([1, 2]), require.resolve("express") !== "")'
        npx --offline rollup --version
}

"$@"
