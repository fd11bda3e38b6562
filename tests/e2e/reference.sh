# Steps of test_reference.c: a checkout of edx-platform's shape, whose owner is not who runs the tools in it, and all that they generate.
. "$E2E/npm_cache.sh"
. "$E2E/owner.sh"

export PIP_NO_INDEX=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PYTHONHASHSEED=0
unset PYTHONDONTWRITEBYTECODE
venv=$HOME/venv

# Packages of their own: the directory, the name in setup.py, the module.
packages='
common/lib/calc calc calc
common/lib/capa capa capa
common/lib/chem chem chem
common/lib/dogstats dogstats_wrapper dogstats_wrapper
common/lib/safe_lxml safe_lxml safe_lxml
common/lib/sandbox-packages sandbox-packages loncapa
common/lib/symmath symmath symmath
common/lib/xmodule XModule xmodule
openedx/core/lib/xblock_builtin/xblock_discussion xblock_discussion xblock_discussion
'
themes='red-theme stanford-style'
sheets='lms-course lms-footer lms-footer-edx lms-learner-dashboard lms-main-v1 lms-main-v2'

# Everything that has to be generated, and nothing else may be.
artifacts() {
        local dir name module css sheet
        printf '%s\n' .coverage .prereqs_cache .pytest_cache Open_edX.egg-info cms/envs/production.py lms/envs/production.py \
                common/static/bundles common/static/common/js/vendor lms/static/certificates/css node_modules
        echo "$packages" | while read -r dir name module; do
                [ -z "$dir" ] || printf '%s\n' "$dir/${name//-/_}.egg-info" "$dir/$module/__pycache__"
        done
        for css in lms/static/css $(printf 'themes/%s/lms/static/css\n' $themes); do
                printf '%s\n' "$css/bootstrap" "$css/discussion"
                for sheet in $sheets; do
                        printf '%s\n' "$css/$sheet.css" "$css/$sheet-rtl.css"
                done
        done
        printf '%s\n' lms/__pycache__ cms/envs/common.pyc lms/djangoapps/app7/models.pyc
}

fetch() {
        fetch_locked edx
}

# make_module DIRECTORY NAME: with a test.
make_module() {
        local i
        mkdir -p "$1/$2"
        : >"$1/$2/__init__.py"
        for i in {1..8}; do
                printf '"""Part %d of %s."""\n\n\ndef value(x):\n    return x * %d\n' "$i" "$2" "$i" >"$1/$2/part$i.py"
        done
        printf 'from %s import part3\n\n\ndef test_value():\n    assert part3.value(2) == 6\n' "$2" >"$1/$2/test_$2.py"
}

# make_setup DIRECTORY NAME MODULE…
make_setup() {
        local dir=$1 name=$2
        shift 2
        printf 'from setuptools import setup\n\nsetup(name="%s", version="0.1", packages="%s".split())\n' "$name" "$*" >"$dir/setup.py"
}

make_python() {
        local dir name module i
        while read -r dir name module; do
                [ -n "$dir" ] || continue
                make_module "$dir" "$module"
                make_setup "$dir" "$name" "$module"
        done <<<"$packages"
        make_setup . 'Open edX' lms cms openedx
        for i in lms cms openedx; do
                make_module . "$i"
        done
        for i in {1..20}; do
                mkdir -p "lms/djangoapps/app$i/migrations"
                for name in __init__ models views urls admin migrations/0001_initial; do
                        echo "NAME = 'app$i.$name'" >"lms/djangoapps/app$i/$name.py"
                done
        done
        for i in lms cms; do
                mkdir "$i/envs"
                echo "DEBUG = True" >"$i/envs/common.py"
                echo "from .common import *" >"$i/envs/aws.py"
        done
        printf '[pytest]\naddopts = -q -p no:randomly\n' >pytest.ini
        printf '[run]\nsource = lms,cms,common/lib\n' >.coveragerc
}

# make_sheets DIRECTORY COLOUR: entries, and a partial of its own.
make_sheets() {
        local sheet side
        mkdir -p "$1/bootstrap" "$1/discussion" "$1/partials"
        echo "\$brand: $2;" >"$1/partials/_brand.scss"
        for sheet in $sheets; do
                for side in ltr rtl; do
                        printf '@import "partials/brand";\n$side: %s;\n@import "base";\n.%s { @include button($brand); }\n' "$side" "$sheet" \
                                >"$1/$sheet$([ $side = ltr ] || echo -rtl).scss"
                done
        done
        for sheet in bootstrap/lms-main discussion/lms-discussion-main discussion/inline-discussion; do
                printf '$side: ltr;\n@import "../partials/brand";\n@import "base";\n.%s { @include button($brand); }\n' "${sheet##*/}" >"$1/$sheet.scss"
        done
}

make_static() {
        local theme css i
        mkdir -p common/static/sass common/static/js common/static/common/js/components lms/static/js cms/static/js lms/static/certificates/sass
        printf '@mixin button($c) { color: darken($c, 10%%); &:hover { color: $c; } [dir=#{$side}] & { margin: 1px; } }\n' >common/static/sass/_base.scss
        make_sheets lms/static/sass '#0075b4'
        make_sheets themes/red-theme/lms/static/sass '#c00'
        make_sheets themes/stanford-style/lms/static/sass '#8c1515'
        printf '$side: ltr;\n@import "base";\n.certificate { @include button(#444); }\n' >lms/static/certificates/sass/main-ltr.scss
        # Written by hand, in the directories that compiled ones go to.
        for css in lms/static/css themes/red-theme/lms/static/css; do
                mkdir -p "$css/vendor/ui-lightness"
                echo '.hand { color: red }' >"$css/vendor/ui-lightness/jquery-ui.css"
                echo '.hand { color: blue }' >"$css/edx-cc.css"
                echo '$hand: blue;' >"$css/_hand.scss"
        done
        for i in {1..10}; do
                echo "export const part$i = (x) => x + $i;" >"common/static/js/part$i.js"
                echo "export const component$i = $i;" >"common/static/common/js/components/component$i.js"
        done
        echo 'import { part1 } from "../../../common/static/js/part1.js"; import $ from "jquery"; $("body").text(part1(1));' >lms/static/js/CourseHome.js
        echo 'import { part2 } from "../../../common/static/js/part2.js"; import _ from "underscore"; _.each([1], part2);' >cms/static/js/StudioIndex.js
        echo 'import { part3 } from "./part3.js"; import("./part4.js").then((m) => m.part4(part3(1)));' >common/static/js/Discussion.js
}

make_rest() {
        local i
        for i in ar de el es_419 fr he hi ja ko_KR pl pt_BR ru tr uk zh_CN; do
                mkdir -p "conf/locale/$i/LC_MESSAGES"
                printf 'msgid "Course"\nmsgstr "%s"\n' "$i" >"conf/locale/$i/LC_MESSAGES/django.po"
        done
        mkdir -p requirements/edx docs/guides
        echo 'pytest' >requirements/edx/testing.txt
        echo 'Guides' >docs/guides/index.rst
        ln -s ../../conf/locale docs/guides/locale
}

make_tree() {
        make_python
        make_static
        make_rest
        cp "$E2E"/edx/{package.json,package-lock.json,webpack.config.js,dsfs.yaml} .
        cp "$E2E/edx/gitignore" .gitignore
        # Long ago, so that git trusts what stat says.
        find . -exec touch -h -d '2024-01-01' {} +
        chown -hR "$owner:$owner" .
        as_owner git init -q -b main .
        as_owner git add -A
        as_owner git commit -qm tree
        git ls-files | wc -l
}

# As in a container: by root, with what the machine's python and the registry have.
generate() {
        node_packages
        python_packages
        compile_assets
        compile_python
        run_tests
}

node_packages() {
        npm_ci
        mkdir -p .prereqs_cache common/static/common/js/vendor
        sha1sum <package-lock.json >.prereqs_cache/Node_prereqs.sha1
        cp node_modules/{backbone/backbone,jquery/dist/jquery,underscore/underscore}.js common/static/common/js/vendor/
}

python_packages() {
        local dir name module
        rm -rf "$venv"
        /usr/bin/python3 -m venv --system-site-packages --without-pip "$venv"
        "$venv/bin/python" -m pip install -q --no-deps --no-build-isolation -e . -e common/lib/calc -e common/lib/xmodule
        # The others by setuptools itself, which pip takes its time to call.
        while read -r dir name module; do
                [ -z "$dir" ] || [ -e "$dir/${name//-/_}.egg-info" ] ||
                        (cd "$dir" && "$venv/bin/python" -W ignore setup.py -q develop --no-deps)
        done <<<"$packages"
        "$venv/bin/python" -m pip list --format=freeze --local
        sha1sum <requirements/edx/testing.txt >.prereqs_cache/Python_prereqs.sha1
        cp -p cms/envs/aws.py cms/envs/production.py
        cp -p lms/envs/aws.py lms/envs/production.py
}

compile_sass() {
        sass --no-source-map "$@" -I common/static/sass lms/static/certificates/sass:lms/static/certificates/css lms/static/sass:lms/static/css \
                $(printf 'themes/%s/lms/static/sass:themes/%s/lms/static/css\n' $(printf '%s\n%s\n' $themes $themes | sort))
}

compile_assets() {
        compile_sass
        node -e 'require("webpack")(require("./webpack.config.js"), (error, stats) => {
                if (error || stats.hasErrors()) throw error || stats.toString();
        })'
}

compile_python() {
        "$venv/bin/python" -m compileall -q lms/djangoapps cms/envs
        "$venv/bin/python" -m compileall -q -b lms/djangoapps cms/envs
}

run_tests() {
        "$venv/bin/python" -m coverage run -m pytest lms cms openedx common/lib | sed -E 's/ in [0-9.]+s//'
        "$venv/bin/python" -m coverage report | tail -n 1
        "$venv/bin/python" -c 'import calc, loncapa, xmodule, xblock_discussion, lms.envs.production; print(xmodule.__file__, lms.envs.production.DEBUG)'
}

# Every generated file and its content. What coverage measured is a database, whose bytes say when; that it is one is enough.
describe() {
        local path
        for path in $(artifacts); do
                [ -e "$path" ] || {
                        echo "$path is missing"
                        return 1
                }
        done
        [ "$(head -c 15 .coverage)" = 'SQLite format 3' ]
        git ls-files -o -i --exclude-standard -z | grep -zvx .coverage | xargs -0 sha256sum
        # The rest of what is beside them is the source's.
        ls -A lms/static/css themes/red-theme/lms/static/css cms/envs common/lib/xmodule
}

# On the host: nothing of it is there, and nothing is anybody else's.
must_be_untouched() {
        local path
        for path in $(artifacts); do
                [ ! -e "$path" ] && [ ! -L "$path" ] || {
                        echo "$path is in the source"
                        return 1
                }
        done
        must_be_clean
}

nothing_is_roots() {
        [ -z "$(find . ! -uid "$owner" -print -quit)" ]
}

index_state() {
        stat -c '%i %y %s' .git/index
        sha256sum <.git/index
}

# in_step [COMMAND…]: git, run by COMMAND, finds every file as its index has it, without reading one, and so has nothing to write there.
in_step() {
        local before found
        before=$(index_state)
        found=$("$@" git diff-files --name-only && "$@" git diff-index --name-only HEAD && "$@" git status --porcelain)
        [ -z "$found" ] || {
                echo "git finds: $found"
                return 1
        }
        [ "$(index_state)" = "$before" ] || {
                echo "git wrote its index again"
                return 1
        }
}

# What is there already is used: nothing is compiled again.
use() {
        local said before
        said=$(compile_sass --update)
        [ -z "$said" ] || {
                echo "sass compiled: $said"
                return 1
        }
        before=$(stat -c '%n %i %y' common/lib/xmodule/xmodule/__pycache__/*)
        "$venv/bin/python" -c 'import xmodule.part3'
        [ "$(stat -c '%n %i %y' common/lib/xmodule/xmodule/__pycache__/*)" = "$before" ] || {
                echo "python compiled"
                return 1
        }
}

"$@"
