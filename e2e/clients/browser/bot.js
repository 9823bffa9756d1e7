// A person at a browser: the page that the server serves, told what to do by one JSON object a line. Everything is done by clicks and
// keys.
//
// Owns: the browser, its page, the commands. Not here: what is heard (`ears.js`), what the page says and shows (`witness.js`).

import { parseArgs } from 'node:util';

import { launchChromium, launchFirefox } from '../../../web/browser/launch.mjs';
import { emit, obey } from '../discordjs/control.js';
import { hear } from './ears.js';
import { memory } from './memory.js';
import { finishRecording, prepareRecording, record } from './recorder.js';
import { cut, localPorts } from './sockets.js';
import { witness } from './witness.js';

const USAGE = 'usage: bot.js --browser chromium|firefox --page URL [--token TOKEN] [--hz HZ | --wav FILE]';
/** How long anything that was asked for may take to be seen. */
const WITHIN_MS = 30_000;
const LOOK_MS = 30;

class Person {
  #browser;
  #page;
  #origin;
  #token;
  /** The stay in voice as the page last told it. */
  #voice = { phase: 'disconnected', channel: null };
  /** The channel that was last connected, until the stay ends. */
  #stay = null;
  #wanted = null;
  /** The local ports of everything that was there before a voice WebSocket was. */
  #elsewhere = new Set();
  #transferred = 0;

  static async start({ browser, page, token, hz, wav }) {
    const origin = new URL(page).origin;
    const options = { origin, hz: hz === undefined ? null : Number(hz), wav };
    const person = new Person();
    person.#origin = origin;
    person.#token = token;
    person.#browser = await (browser === 'firefox' ? launchFirefox(options) : launchChromium(options));
    person.#page = (await person.#browser.pages())[0] ?? (await person.#browser.newPage());
    await person.#prepare(browser);
    await person.#page.goto(page);
    return person;
  }

  async #prepare(browser) {
    const page = this.#page;
    await page.setViewport({ width: 1280, height: 800 });
    page.on('console', (message) => ['error', 'warn'].includes(message.type()) && emit('trouble', { kind: 'console', text: message.text() }));
    page.on('pageerror', (error) => emit('trouble', { kind: 'page', text: error.stack ?? error.message }));
    page.on('requestfailed', (request) => emit('trouble', { kind: 'request', text: request.url() }));
    if (browser !== 'firefox') await this.#count();
    await page.exposeFunction('tellBot', (event, fields) => this.#told(event, fields));
    await page.evaluateOnNewDocument(remember, this.#token ?? null);
    await page.evaluateOnNewDocument(witness);
    await prepareRecording(page);
  }

  /** Counts the bytes of what is loaded as they come over the network, compressed. */
  async #count() {
    const session = await this.#page.createCDPSession();
    await session.send('Network.enable');
    session.on('Network.loadingFinished', ({ encodedDataLength }) => (this.#transferred += encodedDataLength));
  }

  #told(event, fields) {
    if (event === 'socket' && fields.kind === 'gateway' && fields.is === 'open') this.#elsewhere = this.#ports();
    if (event === 'voice') this.#voiceChanged(fields);
    emit(event, fields);
  }

  /** The same words as the other bots have. */
  #voiceChanged(now) {
    const before = this.#voice;
    this.#voice = now;
    if (now.phase === 'disconnected' && before.phase !== 'disconnected') emit('disconnected', { code: null, end: now.end });
    if (now.phase === 'disconnected') this.#stay = null;
    if (now.phase !== 'voice connected') return;
    if (this.#stay === null || now.channel === this.#wanted) emit('joined', { channel: now.channel, mode: 'webrtc' });
    else if (now.channel === this.#stay) emit('voice_back');
    else emit('moved', { channel: now.channel, mode: 'webrtc' });
    this.#stay = now.channel;
    this.#wanted = null;
  }

  #ports() {
    return localPorts(this.#browser.process().pid, new URL(this.#origin).port || '80');
  }

  async do(command) {
    switch (command.do) {
      case 'join':
        return this.#join(command.channel);
      case 'leave':
        return this.#click('button', '^Leave the voice channel$');
      case 'hear':
        return emit('heard', await hear(this.#page, command.seconds));
      case 'record':
        await record(this.#page);
        return emit('recording');
      case 'finish_recording':
        return emit('recorded', await finishRecording(this.#page, command.user, command.path));
      case 'memory':
        return emit('memory', await memory(this.#page, this.#browser));
      case 'click':
        await this.#click(command.role, command.name);
        return emit('done');
      case 'press':
        await this.#press(command.keys);
        return emit('done');
      case 'type':
        await this.#page.keyboard.type(command.text);
        return emit('done');
      case 'see':
        return emit('seen', await this.#see(command.role, command.name, command.gone ?? false));
      case 'focused':
        return emit('focused', (await this.#page.evaluate('window.witness.focused()')) ?? {});
      case 'reload':
        await this.#page.reload();
        return emit('done');
      case 'screenshot':
        await this.#page.screenshot({ path: command.path });
        return emit('done');
      case 'transferred':
        return emit('transferred', { bytes: this.#transferred });
      case 'voice_frames':
        return emit('voice_frames', { frames: await this.#page.evaluate('window.witness.frames()') });
      case 'cut_voice_ws':
        for (const port of this.#ports()) if (!this.#elsewhere.has(port)) cut(port);
        return undefined;
      case 'state':
        return emit('state', await this.#state());
      default:
        throw new Error('unknown command');
    }
  }

  async #join(channel) {
    const authorization = await this.#page.evaluate(() => localStorage.getItem('guildhall.token'));
    const answer = await fetch(`${this.#origin}/api/v10/channels/${channel}`, { headers: { authorization } });
    const { name } = await answer.json();
    if (name === undefined) throw new Error(`the channel's name was asked for, and the answer is ${answer.status}`);
    this.#wanted = channel;
    await this.#click('button', `^${name}, voice`);
  }

  async #click(role, name) {
    const element = await this.#find(role, name);
    await element.click();
    await element.dispose();
  }

  /** Waits for an element of this role whose name matches. */
  async #find(role, name) {
    const until = performance.now() + WITHIN_MS;
    while (performance.now() < until) {
      const handle = await this.#page.evaluateHandle((role, name) => window.witness.find(role, name), role, name);
      const element = handle.asElement();
      if (element !== null) return element;
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    throw new Error(`no ${role} is called ${name}: ${(await this.#page.evaluate('window.witness.tree()')).join('; ')}`);
  }

  async #see(role, name, gone) {
    const until = performance.now() + WITHIN_MS;
    while (performance.now() < until) {
      const seen = await this.#page.evaluate((role, name) => window.witness.see(role, name), role, name);
      if (gone === (seen === null)) return seen ?? {};
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    throw new Error(`${gone ? 'still' : 'no'} ${role} ${name}: ${(await this.#page.evaluate('window.witness.tree()')).join('; ')}`);
  }

  /** `Control+Shift+KeyM` and the like: the last is pressed while the others are held. */
  async #press(keys) {
    const names = keys.split('+');
    const last = names.pop();
    for (const held of names) await this.#page.keyboard.down(held);
    await this.#page.keyboard.press(last);
    for (const held of names.reverse()) await this.#page.keyboard.up(held);
  }

  async #state() {
    const { channel, phase } = this.#voice;
    const snapshot = await this.#page.evaluate('window.guildhall.snapshot()');
    return { channel, connected: phase === 'voice connected', mode: 'webrtc', snapshot };
  }

  async close() {
    await this.#browser.close();
  }
}

/** Runs in the page: what somebody who was here before would have stored. The microphone's sound is a tone, which the browser takes for noise. */
function remember(token) {
  // An empty page has nowhere to store anything.
  if (!location.href.startsWith('http') || localStorage.getItem('guildhall.settings') !== null) return;
  localStorage.setItem('guildhall.settings', JSON.stringify({ echoCancellation: false, noiseSuppression: false, autoGainControl: false }));
  if (token !== null) localStorage.setItem('guildhall.token', token);
}

function options() {
  const text = { type: 'string' };
  const { values } = parseArgs({ options: { browser: text, page: text, token: text, hz: text, wav: text } });
  if (!['chromium', 'firefox'].includes(values.browser) || values.page === undefined) {
    console.error(USAGE);
    process.exit(2);
  }
  return values;
}

async function main() {
  const person = await Person.start(options());
  emit('ready');
  // One thing after the other, like hands; ears hear meanwhile.
  let hands = Promise.resolve();
  const failed = (error) => emit('error', { message: error.message });
  await obey((command) => {
    if (command.do === 'hear') person.do(command).catch(failed);
    else hands = hands.then(() => person.do(command)).catch(failed);
  });
  await hands;
  await person.close();
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    emit('error', { message: error.message });
    process.exit(1);
  },
);
