// nodemailer: many messages over a pool of connections, some alone, with attachments, reports asked for, and refusals told.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import nodemailer from 'nodemailer'

const site = JSON.parse(readFileSync(0))
const { alice, bob } = site.people
const tls = { ca: readFileSync(site.ca_file) }
const transport = (name, more) =>
  nodemailer.createTransport({
    host: site.host,
    port: site.ports[name],
    secure: name === 'submissions',
    requireTLS: true,
    tls,
    auth: { user: alice.address, pass: alice.password },
    ...more
  })

const letter = sender => ({
  from: { name: 'Zoë', address: alice.address },
  to: bob.address,
  subject: `Grüße from ${sender}`,
  text: '.first\n..second\nGrüße\n',
  html: '<p>Grüße</p>',
  headers: { 'X-Sent-By': sender },
  attachments: [{ filename: 'Zoë.bin', content: Buffer.from(Array(70_000).fill('\0\r\n.')) }]
})

const pool = transport('submission', { pool: true, maxConnections: 3, maxMessages: 5 })
await pool.verify()
const sent = await Promise.all(Array.from({ length: 20 }, () => pool.sendMail(letter('pool'))))
for (const { response, accepted } of sent) {
  assert.deepEqual(accepted, [bob.address])
  assert.match(response, /^250 2\.0\.0 /)
}
pool.close()

for (const name of ['submission', 'submissions']) {
  const alone = transport(name, { authMethod: name === 'submission' ? 'PLAIN' : 'LOGIN' })
  const dsn = { id: 'order 42', return: 'headers', notify: ['success', 'failure'], recipient: alice.address }
  const { rejected } = await alone.sendMail({ ...letter('alone'), dsn })
  assert.deepEqual(rejected, [])
}

const some = await transport('submissions').sendMail({ ...letter('third'), to: [bob.address, 'nobody@demo.test'] })
assert.deepEqual(some.rejected, ['nobody@demo.test'])
assert.match(some.rejectedErrors[0].response, /^550 5\.1\.1 /)
await assert.rejects(transport('submissions').sendMail({ ...letter('other'), from: bob.address }), /553 5\.7\.1/)
const guess = transport('submissions', { auth: { user: alice.address, pass: 'guess' } })
await assert.rejects(guess.verify(), { code: 'EAUTH', responseCode: 535 })
