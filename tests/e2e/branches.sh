# Steps of test_branches.c: a checkout with branches whose generated files are built from different lockfiles, setup.py and style sheets.
. "$E2E/npm_cache.sh"
. "$E2E/owner.sh"

export PIP_NO_INDEX=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
generated='node_modules css pages/site.css tool/tool.egg-info'

fetch() {
        fetch_locked branches/main branches/topic
        fetch_package left-pad@1.3.0
}

# commit_branch NAME LOCK VERSION COLOUR
commit_branch() {
        cp "$E2E/branches/$2"/package*.json .
        printf 'from setuptools import setup\n\nsetup(name="tool", version="%s", packages=["tool"])\n' "$3" >tool/setup.py
        echo "\$brand: $4;" >sass/partials/_brand.scss
        chown -hR "$owner:$owner" .
        as_owner git add -A
        as_owner git commit -qm "$1"
}

# Branches: main; topic, where everything is different; sheets, as main but for its style sheets.
make_tree() {
        mkdir -p tool/tool sass/partials pages
        as_owner git init -q -b main .
        cp "$E2E/branches/dsfs.yaml" .
        printf '%s\n' node_modules/ '*.egg-info/' __pycache__/ '*.pyc' /css/ 'pages/*.css' >.gitignore
        echo 'value = 1' >tool/tool/__init__.py
        echo '<link rel="stylesheet" href="site.css">' >pages/index.html
        printf '@import "partials/brand";\n.site { color: $brand; a { color: darken($brand, 10%%); } }\n' >sass/site.scss
        commit_branch main main 1.0 '#0075b4'
        as_owner git checkout -qb topic
        commit_branch topic topic 2.0 '#c00'
        as_owner git checkout -qb sheets main
        commit_branch sheets main 1.0 '#8c1515'
        as_owner git checkout -q main
}

# checkout BRANCH: by the developer on the host.
checkout() {
        as_owner git checkout -q "$1"
}

# In the mount, by root.
install() {
        npm_ci
        [ -e "$HOME/venv" ] || /usr/bin/python3 -m venv --system-site-packages --without-pip "$HOME/venv"
        "$HOME/venv/bin/python" -m pip install -q --no-deps --no-build-isolation -e ./tool
        compile
}

compile() {
        sass --no-source-map sass:css
        cp css/site.css pages/
}

install_package() {
        npm install --ignore-scripts --offline left-pad@1.3.0 >/dev/null
}

# Nothing has been made on this branch yet.
must_be_new() {
        must_have_no $generated
}

must_have_no_css() {
        must_have_no css pages/site.css
}

must_have_no() {
        local path
        for path; do
                [ ! -e "$path" ] || {
                        echo "$path is there: $(ls "$path")"
                        return 1
                }
        done
}

# What is there was made from what this branch has.
must_fit() {
        node -e '
                const assert = require("assert"), lock = (path) => require(path).packages, wanted = lock("./package-lock.json");
                delete wanted[""];
                const names = (packages) => Object.keys(packages).filter((p) => !packages[p].optional).map((p) => p + " " + packages[p].version);
                assert.deepEqual(names(lock("./node_modules/.package-lock.json")), names(wanted));
                assert.equal(require("ms/package.json").version, wanted["node_modules/ms"].version);'
        grep -qx "Version: $(sed -nE 's/.*version="([^"]*)".*/\1/p' tool/setup.py)" tool/tool.egg-info/PKG-INFO
        grep -q "color: $(sed -nE 's/.*: (.*);/\1/p' sass/partials/_brand.scss);" css/site.css
        cmp css/site.css pages/site.css
}

# Every generated file and its content.
describe() {
        local path
        for path in $generated; do
                if [ -e "$path" ]; then
                        find "$path" -type f -print0 | sort -z | xargs -0 sha256sum
                else
                        echo "no $path"
                fi
        done
}

describe_modules() {
        generated=node_modules
        describe
}

# commit_on BRANCH: what is changed, on the host.
commit_on() {
        as_owner git checkout -qb "$1"
        as_owner git commit -qam "$1"
}

"$@"
