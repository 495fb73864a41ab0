// What every browser test begins with: a Chromium that starts empty, talks to nobody but the server under test, and
// whose complaints fail the test.

import {mkdir, mkdtemp, rm, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {fileURLToPath} from 'node:url'
import {chromium} from 'playwright-core'

// webGL makes Chromium draw MapLibre's maps without a GPU.
export const webGL = ['--use-gl=angle', '--use-angle=swiftshader', '--enable-unsafe-swiftshader']

// withPage runs a test in a fresh browser and closes it. The browser is $CHROMIUM, or Debian's. test gets the page and
// the complaints so far: script errors, breaches of the Content-Security-Policy, and whatever else the console calls an
// error, besides refused requests, which are what the tests are about. options are Playwright's; args add to ours.
export async function withPage({args = [], blockThirdPartyCookies = false, ...options}, test) {
	const profile = await mkdtemp(join(tmpdir(), 'tilegate-chromium-'))
	if (blockThirdPartyCookies) {
		await mkdir(join(profile, 'Default'))
		await writeFile(join(profile, 'Default', 'Preferences'), JSON.stringify({profile: {block_third_party_cookies: true, cookie_controls_mode: 1}}))
	}
	const context = await chromium.launchPersistentContext(profile, {
		executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
		headless: true,
		args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run', ...args],
		...options,
	})
	try {
		const page = context.pages()[0] ?? await context.newPage()
		const complaints = []
		page.on('pageerror', (e) => complaints.push(e.message))
		page.on('console', (m) => {
			if (m.type() === 'error' && !m.text().startsWith('Failed to load resource: the server responded')) complaints.push(m.text())
		})
		return await test(page, complaints)
	} finally {
		await context.close()
		await rm(profile, {recursive: true, force: true})
	}
}

// check fails the test with what was expected.
export function check(condition, expected) {
	if (!condition) throw new Error(expected)
}

// run ends the process with status 1 and one clear line when a test fails.
export async function run(test) {
	try {
		await test()
	} catch (e) {
		console.error(`FAIL: ${e.message.split('\n')[0]}`)
		process.exit(1)
	}
}

// prepareAxe puts axe-core into the pages to come; their policy forbids it to come by other ways.
export const prepareAxe = (page) => page.addInitScript({path: fileURLToPath(import.meta.resolve('axe-core/axe.min.js'))})

// accessible fails the test with the first thing that axe finds.
export async function accessible(page, when) {
	const found = await page.evaluate(async () => (await window.axe.run()).violations.map((v) => `${v.id}: ${v.nodes[0].html.slice(0, 200)} ${v.nodes[0].any[0]?.message ?? v.help}`))
	check(found.length === 0, `${when}: axe to find nothing, got ${found.join(' | ')}`)
}
