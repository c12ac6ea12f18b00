// What a fresh replica set or cluster needs once. Run again, it leaves what is there.
//
//   REPLICA_SET, MEMBERS   where a replica set is to be made: its name, and the addresses of its members
//   SHARDS                 at a mongos: the shards to be added, each NAME/ADDRESS, separated by spaces
//   USERS                  the users to be made: `admin`, `admin pharos`, or none

const fs = require('fs');
const words = (name) => (process.env[name] ?? '').split(/[\s,]+/).filter((word) => word !== '');
const password = (user) => fs.readFileSync(`/secrets/${user}-password`, 'utf8').trim();
const admin = db.getSiblingDB('admin');

function signIn() {
    try {
        return admin.auth('admin', password('admin')).ok === 1;
    } catch {
        return false;
    }
}

// What the servers listen for while they elect a primary.
function wait(what, isSo) {
    for (let second = 0; second < 120; second += 1) {
        if (isSo()) return;
        sleep(1000);
    }
    throw new Error(`${what}: not within two minutes`);
}

const rights = { admin: ['root'], pharos: [{ role: 'readWrite', db: 'pharos' }] };
let isKnown = signIn();

if (process.env.REPLICA_SET && !isKnown) {
    const members = words('MEMBERS').map((host, number) => ({ _id: number, host }));
    try {
        rs.initiate({ _id: process.env.REPLICA_SET, members });
    } catch (error) {
        if (error.codeName !== 'AlreadyInitialized') throw error;
    }
    wait('this server becomes the primary', () => db.hello().isWritablePrimary);
}

// The first user ends the time in which everybody at 127.0.0.1 may make one.
for (const user of words('USERS')) {
    if (isKnown && admin.getUser(user)) continue;
    admin.createUser({ user, pwd: password(user), roles: rights[user] });
    isKnown = isKnown || signIn();
}

const shards = words('SHARDS');
for (const shard of shards) sh.addShard(shard);
if (shards.length > 0) {
    // docs/deploy.md tells why by these keys.
    sh.shardCollection('pharos.index', { _id: 1 });
    sh.shardCollection('pharos.records', { _id: 'hashed' });
    sh.shardCollection('pharos.history', { _id: 'hashed' });
    sh.shardCollection('pharos.parts', { _id: 'hashed' });
}
print('It is set up.');
