# For scripts whose steps install from the registry that npm is configured for. All of a run share one cache (with DSFS_E2E_CACHE those of
# several runs), so that each archive is fetched once; only then is the registry asked.
export npm_config_cache=$E2E_CACHE/npm npm_config_audit=false npm_config_fund=false npm_config_update_notifier=false
export npm_config_loglevel=error npm_config_fetch_retries=5 npm_config_fetch_timeout=60000 NO_COLOR=1
PATH=$PWD/node_modules/.bin:$PATH

# fetch_locked DIRECTORY…: into the cache what each tests/e2e/DIRECTORY/package-lock.json names. Not in a directory under test.
fetch_locked() {
        local dir filled
        for dir; do
                filled=$E2E_CACHE/filled-${dir//\//-}
                [ ! -e "$filled" ] || continue
                cp "$E2E/$dir"/package*.json .
                npm ci --ignore-scripts --prefer-offline >/dev/null
                rm -r node_modules package*.json
                : >"$filled"
        done
}

npm_ci() {
        npm ci --ignore-scripts --offline >/dev/null
}

# fetch_package NAME@VERSION…
fetch_package() {
        local package filled
        for package; do
                filled=$E2E_CACHE/filled-$package
                [ ! -e "$filled" ] || continue
                npm install --no-save --ignore-scripts --prefer-offline "$package" >/dev/null
                rm -r node_modules
                : >"$filled"
        done
}
