// imapflow: a whole session of the client that webmail and synchronisers are built on, then a second one that catches up by QRESYNC.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { rename, readdir } from 'node:fs/promises'
import { readFileSync } from 'node:fs'
import { ImapFlow } from 'imapflow'

const site = JSON.parse(readFileSync(0))
const bob = site.people.bob

const connect = async () => {
  const client = new ImapFlow({
    host: site.host,
    port: site.ports.imaps,
    secure: true,
    tls: { ca: readFileSync(site.ca_file) },
    auth: { user: bob.address, pass: bob.password },
    qresync: true,
    logger: false,
    maxIdleTime: 60_000
  })
  await client.connect()
  return client
}

const message = subject =>
  [
    'From: Zoë <zoe@elsewhere.test>',
    `To: <${bob.address}>`,
    `Subject: ${subject}`,
    `Message-ID: <${subject.replaceAll(' ', '.')}@e2e.test>`,
    'Date: Sun, 22 Nov 2026 12:00:00 +0000',
    'MIME-Version: 1.0',
    'Content-Type: multipart/mixed; boundary=b',
    '',
    '--b',
    'Content-Type: text/plain; charset=utf-8',
    'Content-Transfer-Encoding: quoted-printable',
    '',
    `Gr=C3=BC=C3=9Fe`,
    '--b',
    'Content-Type: application/pdf; name=a.pdf',
    'Content-Disposition: attachment; filename=a.pdf',
    'Content-Transfer-Encoding: base64',
    '',
    'SGVsbG8gd29ybGQ=',
    '--b--',
    ''
  ].join('\r\n')

const read = async stream => {
  const chunks = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}

const client = await connect()
for (const wanted of ['CONDSTORE', 'QRESYNC']) assert(client.enabled.has(wanted), `${wanted} is enabled`)
assert(client.capabilities.has('COMPRESS=DEFLATE') && client._deflate, 'the stream is compressed')

const mailboxes = await client.list({ statusQuery: { messages: true, unseen: true, highestModseq: true } })
for (const use of ['\\Inbox', '\\Sent', '\\Drafts', '\\Trash', '\\Junk', '\\Archive']) {
  assert(mailboxes.some(it => it.specialUse === use), `${use} in ${mailboxes.map(it => it.specialUse)}`)
}
assert((await client.mailboxCreate(['Lists', 'Grüße'])).created)

// A message that another session appends is pushed into IDLE.
const other = await connect()
await client.mailboxOpen('INBOX')
const before = client.mailbox.exists
const pushed = once(client, 'exists')
const idle = client.idle()
const appended = await other.append('INBOX', message('pushed'), ['\\Flagged', '$Work'], new Date('2026-11-01T10:00:00Z'))
assert(appended.uid && appended.uidValidity === client.mailbox.uidValidity, 'APPENDUID')
const [exists] = await pushed
assert.equal(exists.count, before + 1)
await client.noop()
await idle

const one = await client.fetchOne(
  appended.uid,
  { uid: true, flags: true, envelope: true, bodyStructure: true, internalDate: true, size: true, headers: ['subject'], threadId: true },
  { uid: true }
)
assert.equal(one.envelope.from[0].address, 'zoe@elsewhere.test')
assert(one.flags.has('$Work') && one.flags.has('\\Flagged'))
assert.equal(one.internalDate.toISOString(), '2026-11-01T10:00:00.000Z')
assert.equal(one.size, Buffer.byteLength(message('pushed')))
assert.equal(one.bodyStructure.childNodes[1].dispositionParameters.filename, 'a.pdf')
assert(one.modseq > 0n, 'MODSEQ')
const text = await client.download(appended.uid, '1', { uid: true })
assert.equal(await read(text.content), 'Grüße')
const pdf = await client.download(appended.uid, '2', { uid: true })
assert.equal(await read(pdf.content), 'Hello world')
const whole = await client.download(appended.uid, undefined, { uid: true })
assert.equal(await read(whole.content), message('pushed'))

assert.deepEqual(await client.search({ subject: 'pushed', flagged: true }, { uid: true }), [appended.uid])
assert.deepEqual(await client.search({ body: 'Grüße' }, { uid: true }), [appended.uid])
assert.deepEqual(await client.search({ modseq: one.modseq }, { uid: true }), [appended.uid])

// The other session's flags are pushed with MODSEQ, its expunge as VANISHED.
const flags = once(client, 'flags')
const idling = client.idle()
await other.mailboxOpen('INBOX')
await other.messageFlagsAdd(appended.uid, ['\\Answered'], { uid: true })
const [changed] = await flags
assert(changed.flags.has('\\Answered') && changed.modseq > one.modseq, 'a newer MODSEQ')
const vanished = once(client, 'expunge')
const moved = await other.messageMove(appended.uid, 'Archive', { uid: true })
assert.equal(moved.uidMap.size, 1)
const [gone] = await vanished
assert.equal(gone.uid, appended.uid)
assert.equal(gone.vanished, true)
await client.noop()
await idling

// While this one is away: one more, one flagged by another program, one expunged.
const kept = []
for (const subject of ['a', 'b', 'c']) kept.push((await client.append('INBOX', message(subject))).uid)
const { uidValidity, highestModseq } = await client.mailboxOpen('INBOX')
await client.logout()
await other.mailboxOpen('INBOX')
assert(await other.messageDelete(kept[0], { uid: true }))
const name = (await readdir(`${bob.maildir}/cur`)).find(it => it.includes(`,U=${kept[1]}`))
assert(name, 'a message has its UID in its name')
await rename(`${bob.maildir}/cur/${name}`, `${bob.maildir}/cur/${name}F`)
const late = (await other.append('INBOX', message('late'))).uid
await other.logout()

const again = await connect()
const news = { vanished: [], flags: [] }
again.on('expunge', it => news.vanished.push(it.uid))
again.on('flags', it => news.flags.push(it))
await again.mailboxOpen('INBOX', { uidValidity, changedSince: highestModseq })
assert.deepEqual(news.vanished, [kept[0]], 'VANISHED (EARLIER)')
const flagged = news.flags.find(it => it.uid === kept[1])
assert(flagged?.flags.has('\\Flagged'), 'what another program flagged')
assert(news.flags.some(it => it.uid === late), 'what came meanwhile')
assert(!news.flags.some(it => it.uid === kept[2]), 'what did not change is not told')
const since = []
for await (const it of again.fetch('1:*', { uid: true, flags: true }, { uid: true, changedSince: highestModseq })) since.push(it.uid)
assert.deepEqual(since.sort((a, b) => a - b), [kept[1], late])
await again.logout()
