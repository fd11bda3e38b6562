# Processes of test_mariadb.c: the server, and clients with transfers between accounts, each of them one transaction.
set -euo pipefail
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8

# Only root may say who it runs as, and has to.
as=()
[ "$(id -u)" != 0 ] || as=(--user=root)

# install DATA
install() {
        mariadb-install-db --no-defaults "${as[@]}" --datadir="$1" --auth-root-authentication-method=normal --skip-test-db >/dev/null
}

# serve DATA SOCKET LOG FLUSH-METHOD: a small buffer pool and log, so that pages are written and checkpoints made all the time.
serve() {
        exec mariadbd --no-defaults "${as[@]}" --datadir="$1" --socket="$2" --pid-file="$2.pid" --log-error="$3" --skip-networking \
                --innodb-flush-method="$4" --innodb-flush-log-at-trx-commit=1 --innodb-use-native-aio=1 --innodb-doublewrite=1 \
                --innodb-buffer-pool-size=8M --innodb-log-file-size=4M --innodb-max-dirty-pages-pct=10 --innodb-fast-shutdown=0
}

schema() {
        cat <<'EOF'
CREATE DATABASE bank;
USE bank;
CREATE TABLE account (id INT PRIMARY KEY, balance INT NOT NULL) ENGINE=InnoDB;
CREATE TABLE log (client INT, round INT, seq INT, src INT, dst INT, amount INT, payload VARBINARY(2000),
        PRIMARY KEY (client, round, seq), KEY (src), KEY (dst)) ENGINE=InnoDB;
INSERT INTO account SELECT seq, 1000 FROM seq_1_to_100;
DELIMITER //
CREATE PROCEDURE transfer(client INT, round INT, seq INT, src INT, dst INT, amount INT)
BEGIN
        START TRANSACTION;
        -- The lower account first: no deadlocks.
        UPDATE account SET balance = balance + IF(src < dst, -amount, amount) WHERE id = LEAST(src, dst);
        UPDATE account SET balance = balance + IF(src < dst, amount, -amount) WHERE id = GREATEST(src, dst);
        INSERT INTO log VALUES (client, round, seq, src, dst, amount, RANDOM_BYTES(200 + seq MOD 800));
        COMMIT;
        SELECT seq;
END //
DELIMITER ;
EOF
}

# prepare SOCKET
prepare() {
        schema | mariadb --no-defaults -uroot -S "$1"
}

# client SOCKET ACKNOWLEDGED CLIENT ROUND SEED: the file gets a line for each transfer that the server said was committed.
# It goes on until the server is gone; anything else is a failure.
client() {
        awk -v client="$3" -v round="$4" -v seed="$5" 'BEGIN {
                srand(seed)
                for (i = 1; i <= 20000; i++) {
                        src = 1 + int(rand() * 100)
                        dst = 1 + (src + int(rand() * 99)) % 100
                        printf "CALL transfer(%d, %d, %d, %d, %d, %d);\n", client, round, i, src, dst, 1 + int(rand() * 50)
                }
        }' | mariadb --no-defaults -uroot -BNn -S "$1" bank >"$2" 2>"$2.error" || true
        grep -qE '^ERROR 20(06|13)' "$2.error" || {
                cat "$2.error" >&2
                return 1
        }
}

"$@"
