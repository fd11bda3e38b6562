# Steps of container.c: images. They are made of this machine's own Debian packages, each with all that it depends on, which takes seconds and asks
# nobody (debootstrap takes half a minute, and a mirror). What is to be in an image must be installed, so it stands in packaging/deps.list.
#
#   small   a shell, coreutils and what else one expects of a system
#   tools   that, python, inotify-tools, programs that reload; node, and at /tools what tests/e2e/reload/package.json names
#
# All have the users root, app (1000) and db (4242).

small=(dash bash coreutils findutils grep sed procps mount util-linux libc-bin)
tools=(inotify-tools entr python3 python3-django python3-watchdog)

# Every file of these packages and of those they need, where it is since /bin is a link to /usr/bin.
files_of() {
        local packages
        mapfile -t packages < <(apt-cache depends --recurse --installed --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
                --no-enhances "$@" | grep -E '^[a-z0-9]' | sort -u)
        mapfile -t packages < <(dpkg-query -W -f '${db:Status-Status} ${binary:Package}\n' "${packages[@]}" 2>/dev/null | sed -n 's/^installed //p')
        dpkg-query -L "${packages[@]}" | sed -E 's,^/(bin|sbin|lib[0-9]*)/,/usr/\1/,' | grep -Ev '^(/\.|/usr/share/(doc|man|locale|info|lintian)/.*)?$' |
                sort -u | while IFS= read -r file; do [ ! -e "$file" ] || echo "${file#/}"; done
}

# put PATH…, read from standard input: these of this machine's files into the image.
put() {
        sort -u | tar -C / --no-recursion -c -T - | tar -C root -x
}

make_small() {
        mkdir -p root/{app,out,proc,sys,dev,run,tmp}
        { printf '%s\n' bin sbin lib lib64 root tmp var/tmp etc && files_of "$@" "${small[@]}"; } | put
        printf '%s\n' root:x:0:0::/root:/bin/sh app:x:1000:1000::/tmp:/bin/sh db:x:4242:4242::/tmp:/bin/sh >root/etc/passwd
        printf '%s\n' root:x:0: app:x:1000: db:x:4242: >root/etc/group
        printf '127.0.0.1 localhost\n' >root/etc/hosts
}

# node may be another's package, or nobody's: it is copied with its libraries.
make_tools() {
        local node
        make_small "${tools[@]}"
        node=$(readlink -f "$(command -v node)")
        ldd "$node" | sed -nE 's,^.*(=>|\t) ?(/.*) \(0x.*,\2,p' | while IFS= read -r file; do
                realpath --no-symlinks "$(realpath "$(dirname "$file")")/$(basename "$file")" && realpath "$file"
        done | sed 's,^/,,' | put
        mkdir -p root/usr/local/bin root/tools
        cp "$node" root/usr/local/bin/node
        cd root/tools
        . "$E2E/npm_cache.sh"
        cp "$E2E"/reload/package*.json .
        npm ci --ignore-scripts --prefer-offline >/dev/null
}

# Have image NAME in the cache, as $tar. What it is made from decides whether that is still good.
cached() {
        local stamp
        stamp=$({ dpkg-query -W && cat "$E2E/container.sh" "$E2E"/reload/package*.json && node --version; } | sha256sum | cut -c 1-16)
        tar=$E2E_CACHE/image-$1-$stamp.tar
        mkdir -p "$E2E_CACHE"
        exec 9>"$E2E_CACHE/image.lock"
        flock 9
        if [ ! -e "$tar" ]; then
                work=$(mktemp -d "$E2E_CACHE/image.XXXXXX")
                trap 'rm -rf "$work"' EXIT
                (
                        cd "$work"
                        ("make_$1")
                        tar -C root -cf made.tar .
                        rm -f "$E2E_CACHE/image-$1"-*.tar
                        mv made.tar "$tar"
                )
        fi
        exec 9>&-
}

# image NAME: dsfs-e2e:NAME, from the cache.
image() {
        cached "$1"
        docker import --change 'ENV NODE_PATH=/tools/node_modules PATH=/tools/node_modules/.bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' "$tar" "dsfs-e2e:$1" >/dev/null
}

# archive NAME FILE: as an archive, for others than docker.
archive() {
        cached "$1"
        cp "$tar" "$2"
}

"$@"
