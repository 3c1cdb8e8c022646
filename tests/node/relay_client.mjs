// nodemailer in a program that sends without logging in, from a network that may: over a pool, up to its limits, and from nobody else's address.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import nodemailer from 'nodemailer'

const site = JSON.parse(readFileSync(0))
const at = (localAddress, more) =>
  nodemailer.createTransport({
    host: '127.0.0.1',
    port: site.ports.smtp,
    localAddress,
    tls: { ca: readFileSync(site.ca_file), servername: site.host },
    ...more
  })
const receipt = number => ({
  from: 'Shop <shop@relay.test>',
  to: 'eve@elsewhere.test',
  subject: `Receipt ${number}`,
  text: 'Grüße\n.\n',
  attachments: [{ filename: 'receipt.bin', content: Buffer.alloc(70_000, number) }]
})

const pool = at('127.0.0.2', { pool: true, maxConnections: 2, maxMessages: 2 })
const sent = await Promise.all([1, 2, 3, 4].map(number => pool.sendMail(receipt(number))))
for (const { response, accepted, rejected } of sent) {
  assert.match(response, /^250 2\.0\.0 /)
  assert.deepEqual([accepted, rejected], [['eve@elsewhere.test'], []])
}
pool.close()

const alone = at('127.0.0.2', { secure: false, requireTLS: true })
await alone.sendMail(receipt(5))
await assert.rejects(alone.sendMail(receipt(6)), { responseCode: 450, response: /^450 4\.7\.1 Too much mail from shop in an hour/ })
const foreign = { ...receipt(7), from: 'alice@relay.test' }
await assert.rejects(alone.sendMail(foreign), { responseCode: 553, response: /^553 5\.7\.1 / })
// Who is elsewhere is a stranger.
await assert.rejects(at('127.0.0.3').sendMail(receipt(8)), { responseCode: 550, response: /^550 5\.7\.1 Relaying denied/ })
