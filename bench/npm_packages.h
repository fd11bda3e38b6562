/*
 * The script that makes packages for npm to install: archives, package.json and a lock file that names them by content. Node makes them,
 * for it is there whenever they are wanted. Arguments: where to, how many, how many files in each.
 */
#pragma once

static const char npm_packages_script[] =
        "const fs = require('fs'), zlib = require('zlib'), crypto = require('crypto'), path = require('path');\n"
        "const [, out, count, files] = process.argv;\n"
        "function header(name, size) {\n"
        "  const h = Buffer.alloc(512);\n"
        "  h.write(name, 0); h.write('0000644\\0', 100); h.write('0000000\\0', 108); h.write('0000000\\0', 116);\n"
        "  h.write(size.toString(8).padStart(11, '0') + '\\0', 124); h.write('14500000000\\0', 136); h.write('        ', 148);\n"
        "  h.write('0', 156); h.write('ustar\\0' + '00', 257);\n"
        "  h.write(h.reduce((sum, byte) => sum + byte, 0).toString(8).padStart(6, '0') + '\\0 ', 148);\n"
        "  return h;\n"
        "}\n"
        "function archive(name, i) {\n"
        "  const parts = [];\n"
        "  const add = (file, text) => {\n"
        "    const bytes = Buffer.from(text);\n"
        "    parts.push(header('package/' + file, bytes.length), bytes, Buffer.alloc((512 - bytes.length % 512) % 512));\n"
        "  };\n"
        "  add('package.json', JSON.stringify({name, version: '1.0.0', main: 'lib/file-1.js'}));\n"
        "  for (let f = 1; f < files; f++)\n"
        "    add((f % 2 ? 'lib/' : 'lib/deep/') + `file-${f}.js`,\n"
        "        `exports.value${f} = ${i}; // a line of a module that was made up\\n`.repeat(5 + (i * 31 + f * 17) % 80));\n"
        "  parts.push(Buffer.alloc(1024));\n"
        "  return zlib.gzipSync(Buffer.concat(parts));\n"
        "}\n"
        "const dependencies = {}, packages = {};\n"
        "for (let i = 0; i < count; i++) {\n"
        "  const name = 'made-up-' + i, bytes = archive(name, i);\n"
        "  fs.writeFileSync(path.join(out, name + '.tgz'), bytes);\n"
        "  dependencies[name] = '1.0.0';\n"
        "  packages['node_modules/' + name] = {version: '1.0.0', resolved: `https://packages.invalid/${name}-1.0.0.tgz`,\n"
        "    integrity: 'sha512-' + crypto.createHash('sha512').update(bytes).digest('base64')};\n"
        "}\n"
        "const root = {name: 'app', version: '1.0.0', dependencies};\n"
        "fs.writeFileSync(path.join(out, 'package.json'), JSON.stringify(root));\n"
        "fs.writeFileSync(path.join(out, 'package-lock.json'),\n"
        "  JSON.stringify({...root, dependencies: undefined, lockfileVersion: 3, requires: true, packages: {'': root, ...packages}}));\n";
