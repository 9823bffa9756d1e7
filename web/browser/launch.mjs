// Starts a real browser without a screen, its microphone a tone.

import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import puppeteer from 'puppeteer-core';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const FIREFOX = process.env.FIREFOX ?? '/usr/bin/firefox-esr';

const RATE_HZ = 48_000;
/** Whole periods of every whole frequency, so that it can be played again and again without a click. */
const SECONDS = 1;
/** Of full scale: far above the codec's noise, with room for several of them in one mix. */
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

export function launchFirefox({ origin = null, hz = null } = {}) {
  const insecure = {
    'media.devices.insecure.enabled': true,
    'media.getusermedia.insecure.enabled': true,
    'dom.securecontext.allowlist': origin === null ? '' : new URL(origin).hostname,
  };
  return puppeteer.launch({
    browser: 'firefox',
    executablePath: FIREFOX,
    headless: true,
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
