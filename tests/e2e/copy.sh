# Steps of test_copy.c: a tree with everything that tar and rsync can carry; copied from directory $2, the result compared with that in $1.

# Times count to the nanosecond.
rsync=(rsync -aHAXS --numeric-ids --modify-window=-1)

# Everything's content and attributes, hard links by which names go together; directories' sizes are the file system's affair.
describe() {
        local ino name
        local -A first
        find . -mindepth 1 \( -type d -printf '%P: %y %m %U:%G %T@\0' -o -printf '%P: %y %m %U:%G %T@ %n %s %l\0' \) | sort -z | tr '\0' '\n'
        find . -type f -print0 | sort -z | xargs -0 sha256sum
        find . -print0 | sort -z | xargs -0 getfattr -h -d -m - -e hex
        find . ! -type l -print0 | sort -z | xargs -0 getfacl -pn
        while IFS=' ' read -r -d '' ino name; do
                : "${first[$ino]:=$name}"
                printf '%s is %s\n' "$name" "${first[$ino]}"
        done < <(find . ! -type d -links +1 -printf '%i %P\0' | sort -z -k 2)
}

fill() {
        local long
        mkdir -p plain empty deep/{a,b,c}/{d,e} odd
        printf 'text\n' >plain/text
        head -c 300000 /dev/urandom >plain/bytes
        : >plain/nothing
        cp plain/bytes deep/a/d/bytes
        # Hard links, across directories.
        ln plain/text plain/text-too
        ln plain/text deep/a/text
        ln plain/bytes deep/c/e/bytes
        # Symbolic links: dangling, to a directory, long, and a hard link to one.
        ln -s nowhere dangling
        ln -s deep/a to-a
        long=$(printf '%0200d' 0)
        ln -s "$long/$long" long-link
        ln dangling dangling-too
        mkfifo fifo
        # Holes: before, between, behind.
        truncate -s 5M sparse-empty
        truncate -s 3M sparse
        printf x | dd of=sparse bs=1 seek=1M conv=notrunc status=none
        printf y | dd of=sparse bs=1 seek=2500000 conv=notrunc status=none
        # Names.
        printf 1 >$'odd/new\nline'
        printf 2 >$'odd/not-utf8-\xff\xfe\x80'
        printf 3 >"odd/ space "
        printf 4 >'odd/back\slash"quote'\''*?[x]'
        printf 5 >'odd/-n'
        printf 6 >"odd/$(printf '%0255d' 0)"
        printf 7 >odd/ümläut
        # Modes and owners.
        cp /bin/true set-uid
        chown 1234:2345 set-uid
        chmod 4755 set-uid
        cp /bin/true set-gid
        chmod 2711 set-gid
        mkdir -m 2775 set-gid-dir
        chown 0:3456 set-gid-dir
        mkdir -m 1777 sticky
        printf x >secret
        chown 4321 secret
        chmod 0 secret
        chown -h 99:98 to-a
        # Attributes and ACLs.
        setfattr -n user.text -v value plain/text
        setfattr -n user.bytes -v 0x00ff00 plain/bytes
        setfattr -n user.long -v "$(printf '%01500d' 0)" plain/nothing
        setfattr -n user.dir -v d deep
        setfattr -n trusted.mine -v t plain/text
        setfacl -m u:1234:r,g:2345:rw plain/text
        setfacl -m d:u:1234:rwx,u:1234:rx deep/b
        setcap cap_net_raw+ep set-gid
        # Times, to the nanosecond; directories last.
        touch -h -d '1999-12-31 23:59:59.123456789' dangling
        touch -d '2001-02-03 04:05:06.000000001' plain/text fifo
        touch -d '1969-12-31 23:00:00.5' plain/nothing
        touch -d '2038-02-01 00:00:00.999999999' plain/bytes
        touch -d '2005-05-05 05:05:05.555555555' deep/a/d deep empty sticky
}

# No copy takes more room than its original did (a block more for the ends of holes).
same_room() {
        local name have want
        for name in sparse sparse-empty plain/bytes; do
                want=$(stat -c %b "$1/$name")
                have=$(stat -c %b "$name")
                [ "$have" -le $((want + 16)) ] || {
                        echo "$name takes $have blocks instead of $want"
                        return 1
                }
        done
}

# verify ORIGIN
verify() {
        local out
        out=$("${rsync[@]}" --checksum --delete -ni "$1/" ./)
        [ -z "$out" ] || {
                printf 'rsync -aHAXni lists:\n%s\n' "$out"
                return 1
        }
        diff <(cd "$1" && describe) <(describe)
        same_room "$1"
}

by_tar() {
        local all=(--format=posix --xattrs --xattrs-include='*' --acls --sparse --numeric-owner --warning=no-timestamp)
        tar -C "$2" "${all[@]}" -cf - . | tar "${all[@]}" -xpf -
        verify "$1"
}

by_rsync() {
        "${rsync[@]}" "$2/" ./
        verify "$1"
}

by_cp() {
        cp -a --sparse=auto "$2/." ./
        verify "$1"
}

# Only what differs is written, and nothing is left different.
rsync_again() {
        printf more >>plain/bytes
        rm deep/a/d/bytes odd/ümläut
        printf new >new
        chmod 600 plain/text
        setfattr -x user.dir deep
        touch secret
        "${rsync[@]}" --delete "$2/" ./
        verify "$1"
}

"$@"
