# Steps of test_pip.c: three packages made here, built, installed into virtual environments, and at work. No index is asked.
# SOURCE_DATE_EPOCH is set, so archives and compiled files don't depend on the time.
export PIP_NO_INDEX=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_BUILD_ISOLATION=0 PIP_ROOT_USER_ACTION=ignore
export PYTHONHASHSEED=0
python=/usr/bin/python3
pip='venv/bin/python -m pip'

# package NAME REQUIREMENT…: a module, a module in a package with data, a command.
package() {
        local name=$1
        shift
        mkdir -p "$name/$name/inner"
        cat >"$name/setup.py" <<EOF
from setuptools import setup
setup(name="$name", version="1.0", packages=["$name", "$name.inner"], package_data={"$name": ["data.txt"]},
      install_requires="$*".split(), entry_points={"console_scripts": ["$name = $name:main"]})
EOF
        {
                local needed
                for needed; do echo "import $needed"; done
                echo 'import importlib.resources'
                echo 'from .inner import value'
                echo "def main():"
                echo "    print('$name', value, importlib.resources.files('$name').joinpath('data.txt').read_text().strip())"
        } >"$name/$name/__init__.py"
        echo "value = len('$name')" >"$name/$name/inner/__init__.py"
        echo "data of $name" >"$name/$name/data.txt"
}

make_packages() {
        package alpha
        package beta alpha
        package gamma alpha beta
}

# The system's own pip, setuptools and wheel do the work.
make_venv() {
        $python -m venv --system-site-packages --without-pip venv
        ls venv/bin
}

build() {
        $pip wheel -q --no-deps -w wheels ./alpha ./beta ./gamma
        rm -rf ./*/build
        (cd gamma && ../venv/bin/python setup.py -q sdist -d ../dist 2>/dev/null)
        tar tzf dist/gamma-1.0.tar.gz | sort
        rm -r dist
        ls wheels
}

install_wheels() {
        $pip install -q --find-links wheels gamma
        $pip list --format=freeze --local | sort
        run_them
}

run_them() {
        local name
        for name in alpha beta gamma; do
                "venv/bin/$name"
        done
}

# Editable: what is edited runs.
install_editable() {
        $pip uninstall -q -y beta
        $pip install -q --no-deps -e ./beta
        echo 'value = "edited"' >beta/beta/inner/__init__.py
        run_them
        venv/bin/python -m compileall -q -f venv/lib alpha beta gamma
        venv/bin/python -m compileall -q venv/lib
        run_them
}

remove() {
        $pip uninstall -q -y alpha beta gamma
        $pip list --format=freeze --local | sort
        rm -r venv wheels
}

"$@"
