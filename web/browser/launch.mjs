// Starts a real browser without a screen, its microphone a tone.

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import puppeteer from 'puppeteer-core';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const FIREFOX = process.env.FIREFOX ?? '/usr/bin/firefox-esr';

const RATE_HZ = 48_000;
/** Whole periods of every whole frequency, so that it can be played again and again without a click. */
const SECONDS = 1;
/** Of full scale: far above a codec's noise, with room for several in one mix. */
const AMPLITUDE = 0.25;

export function hasFirefox() {
  return existsSync(FIREFOX);
}

/**
 * `origin` may then use microphones though it is not https; `hz` is what the microphone plays, and without it whatever the browser
 * likes. Or `wav` is a file that it plays once, from when it is opened.
 */
export async function launchChromium({ origin = null, hz = null, wav = null } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'guildhall-microphone-'));
  const file = join(folder, 'tone.wav');
  if (hz !== null) writeFileSync(file, tone(hz));
  const browser = await puppeteer.launch({
    browser: 'chrome',
    executablePath: CHROMIUM,
    headless: true,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--allow-loopback-in-peer-connection',
      '--use-fake-device-for-media-stream',
      '--use-fake-ui-for-media-stream',
      '--autoplay-policy=no-user-gesture-required',
      ...(hz === null ? [] : [`--use-file-for-fake-audio-capture=${file}`]),
      ...(wav === null ? [] : [`--use-file-for-fake-audio-capture=${wav}%noloop`]),
      ...(origin === null ? [] : [`--unsafely-treat-insecure-origin-as-secure=${origin}`]),
    ],
  });
  browser.on('disconnected', () => rmSync(folder, { recursive: true, force: true }));
  return browser;
}

export async function launchFirefox({ origin = null, hz = null } = {}) {
  const insecure = {
    'media.devices.insecure.enabled': true,
    'media.getusermedia.insecure.enabled': true,
    // It takes the page for one of https now, and would ask for its pictures by https too.
    'security.mixed_content.upgrade_display_content': false,
    'dom.securecontext.allowlist': origin === null ? '' : new URL(origin).hostname,
  };
  const speakers = await openSpeakers();
  const browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath: FIREFOX,
    headless: true,
    env: { ...process.env, PULSE_SERVER: speakers.server },
    extraPrefsFirefox: {
      'media.navigator.streams.fake': true,
      'media.navigator.permission.disabled': true,
      'media.peerconnection.ice.loopback': true,
      'media.peerconnection.ice.obfuscate_host_addresses': false,
      'media.autoplay.default': 0,
      ...(hz === null ? {} : { 'media.navigator.audio.fake_frequency': hz }),
      ...(origin === null ? {} : insecure),
    },
  });
  browser.on('disconnected', () => speakers.close());
  return browser;
}

/** Firefox does not begin with Web Audio before it has speakers. These are a sound server of this browser's own, and silent. */
async function openSpeakers() {
  const folder = mkdtempSync(join(tmpdir(), 'guildhall-speakers-'));
  const socket = join(folder, 'socket');
  const modules = [`module-native-protocol-unix auth-anonymous=1 socket=${socket}`, `module-null-sink rate=${RATE_HZ}`];
  const options = ['-n', '--daemonize=no', '--use-pid-file=no', '--exit-idle-time=-1', '--disable-shm', '--log-level=error'];
  const env = { ...process.env, HOME: folder, XDG_RUNTIME_DIR: folder };
  const server = spawn('pulseaudio', [...options, ...modules.flatMap((module) => ['--load', module])], { stdio: 'ignore', env });
  const failed = new Promise((_, reject) => server.on('error', reject).on('exit', (code) => reject(new Error(`pulseaudio ended with ${code}`))));
  failed.catch(() => undefined);
  const close = () => {
    server.kill();
    rmSync(folder, { recursive: true, force: true });
  };
  const opened = new Promise((resolve) => {
    const looking = setInterval(() => {
      if (!existsSync(socket)) return;
      clearInterval(looking);
      resolve();
    }, 20);
    server.on('exit', () => clearInterval(looking));
  });
  await Promise.race([opened, failed]);
  return { server: `unix:${socket}`, close };
}

/** A WAV file of one channel. */
function tone(hz) {
  const samples = RATE_HZ * SECONDS;
  const wav = Buffer.alloc(44 + samples * 2);
  wav.write('RIFF', 0);
  wav.writeUInt32LE(36 + samples * 2, 4);
  wav.write('WAVEfmt ', 8);
  // Sixteen bytes about the format: PCM, one channel, its rate, bytes a second, bytes a sample, bits a sample.
  wav.writeUInt32LE(16, 16);
  wav.writeUInt16LE(1, 20);
  wav.writeUInt16LE(1, 22);
  wav.writeUInt32LE(RATE_HZ, 24);
  wav.writeUInt32LE(RATE_HZ * 2, 28);
  wav.writeUInt16LE(2, 32);
  wav.writeUInt16LE(16, 34);
  wav.write('data', 36);
  wav.writeUInt32LE(samples * 2, 40);
  for (let n = 0; n < samples; n++) {
    wav.writeInt16LE(Math.round(32_767 * AMPLITUDE * Math.sin((2 * Math.PI * hz * n) / RATE_HZ)), 44 + n * 2);
  }
  return wav;
}
