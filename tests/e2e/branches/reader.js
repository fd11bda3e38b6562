// Holds on to a package: it works in the package's directory, and has that and a file of it open. For each line that it is sent it says what
// it reads now.
const fs = require('fs');

process.chdir(process.argv[2]);
const directory = fs.openSync('.', 'r');
const file = fs.openSync('package.json', 'r');

function version(text) {
        return JSON.parse(text).version;
}

function openVersion() {
        const text = Buffer.alloc(1 << 16);
        return version(text.toString('utf8', 0, fs.readSync(file, text, 0, text.length, 0)));
}

function read() {
        return [
                openVersion(),
                version(fs.readFileSync('package.json')),
                version(fs.readFileSync(`/proc/self/fd/${directory}/package.json`)),
                fs.readdirSync('.').sort().join(),
                fs.readdirSync('..').sort().join(),
                version(fs.readFileSync('../sass/package.json')),
        ].join(' ');
}

require('readline').createInterface({ input: process.stdin }).on('line', () => console.log(read()));
