// Settings: devices, when the microphone is open, what the browser does to its sound.

import { useEffect, useState } from 'preact/hooks';
import type { JSX } from 'preact';

import { Graph } from '../media/graph';
import type { Client } from './client';
import { Dialog, Field } from './parts';
import { SHORTCUT, change, keyName, settings, type Settings as Remembered } from './settings';

export function Settings({ client, onClose }: { client: Client; onClose: () => void }): JSX.Element {
  const [devices, setDevices] = useState<MediaDeviceInfo[]>([]);
  useEffect(() => {
    const stop = client.lookAtMeter();
    const look = () => void navigator.mediaDevices?.enumerateDevices().then(setDevices, () => undefined);
    look();
    // Names are given only after the microphone was allowed.
    const again = setInterval(look, 2_000);
    navigator.mediaDevices?.addEventListener('devicechange', look);
    return () => {
      stop();
      clearInterval(again);
      navigator.mediaDevices?.removeEventListener('devicechange', look);
    };
  }, []);
  const set = (part: Partial<Remembered>, needsReopening = false) => {
    change(part);
    client.applySettings(needsReopening);
  };
  const { deviceId, outputId } = settings.value;
  const isBound = !client.mayUseVoiceActivity.value;
  const mode = client.talkMode.value;
  return (
    <Dialog title="Voice settings" onClose={onClose} kind="is-large">
      <div class="columns">
        <DeviceField label="Microphone" kind="audioinput" devices={devices} value={deviceId} onChange={(id) => set({ deviceId: id }, true)} />
        {Graph.canChooseOutput() && (
          <DeviceField label="Speakers" kind="audiooutput" devices={devices} value={outputId} onChange={(id) => set({ outputId: id })} />
        )}
      </div>
      <fieldset class="choices is-row">
        <legend>My microphone is open</legend>
        <label class="choice">
          <input type="radio" name="mode" checked={mode === 'voice'} disabled={isBound} onChange={() => set({ mode: 'voice' })} />
          <span>when I speak{isBound && <small>This channel asks for a key.</small>}</span>
        </label>
        <label class="choice">
          <input type="radio" name="mode" checked={mode === 'push to talk'} onChange={() => set({ mode: 'push to talk' })} />
          <span>while I hold a key</span>
        </label>
      </fieldset>
      {mode === 'voice' ? <Threshold client={client} onChange={(thresholdDb) => set({ thresholdDb })} /> : <KeyField onChange={(key) => set({ key })} />}
      <fieldset class="choices">
        <legend>Sound of the microphone</legend>
        <Check label="Remove echo of the speakers" name="echoCancellation" set={set} />
        <Check label="Remove noise" name="noiseSuppression" set={set} />
        <Check label="Keep the volume even" name="autoGainControl" set={set} />
      </fieldset>
      <fieldset class="choices">
        <legend>What I hear</legend>
        <label class="choice">
          <input type="checkbox" checked={settings.value.cues} onChange={(e) => set({ cues: e.currentTarget.checked })} />
          <span>A tone when somebody comes or goes, and when I mute</span>
        </label>
      </fieldset>
      <Shortcuts />
    </Dialog>
  );
}

const ROWS: [string, string][] = [
  [`${SHORTCUT}M`, 'mute and unmute'],
  [`${SHORTCUT}D`, 'deafen and undeafen'],
  ['Arrow keys', 'move within a list; Tab goes to the next one'],
  ['Menu key or Shift+F10', 'what one can do with a channel, a person or a message'],
  ['Arrow up in an empty field', 'edit your last message'],
];

function Shortcuts(): JSX.Element {
  return (
    <details class="shortcuts">
      <summary>Keys</summary>
      <dl>
        {ROWS.map(([keys, does]) => (
          <div key={keys}>
            <dt><kbd>{keys}</kbd></dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
    </details>
  );
}

type Set = (part: Partial<Remembered>, needsReopening?: boolean) => void;

function DeviceField({ label, kind, devices, value, onChange }: { label: string; kind: MediaDeviceKind; devices: MediaDeviceInfo[]; value: string; onChange: (id: string) => void }): JSX.Element {
  const known = devices.filter((device) => device.kind === kind && device.deviceId !== '' && device.deviceId !== 'default');
  return (
    <Field label={label}>
      {(attributes) => (
        <select {...attributes} value={value} onChange={(e) => onChange(e.currentTarget.value)}>
          <option value="">As the system has it</option>
          {known.map((device) => <option key={device.deviceId} value={device.deviceId}>{device.label || 'A device without a name'}</option>)}
          {value !== '' && !known.some((device) => device.deviceId === value) && <option value={value}>Not plugged in</option>}
        </select>
      )}
    </Field>
  );
}

function Check({ label, name, set }: { label: string; name: 'echoCancellation' | 'noiseSuppression' | 'autoGainControl'; set: Set }): JSX.Element {
  return (
    <label class="choice">
      <input type="checkbox" checked={settings.value[name]} onChange={(e) => set({ [name]: e.currentTarget.checked }, true)} />
      <span>{label}</span>
    </label>
  );
}

const QUIETEST_DB = -90;
const share = (db: number) => `${Math.max(0, Math.min(100, ((db - QUIETEST_DB) / -QUIETEST_DB) * 100))}%`;

function Threshold({ client, onChange }: { client: Client; onChange: (db: number) => void }): JSX.Element {
  const { thresholdDb } = settings.value;
  return (
    <Field label="Sensitivity" hint="What is louder than the mark is sent. Speak, and move the mark below the bar.">
      {(attributes) => (
        <div class="threshold">
          <Meter client={client} thresholdDb={thresholdDb} />
          <input {...attributes} type="range" min={QUIETEST_DB} max={0} value={thresholdDb} aria-valuetext={`${thresholdDb} decibels`} onInput={(e) => onChange(Number(e.currentTarget.value))} />
        </div>
      )}
    </Field>
  );
}

/** Apart from the rest of the dialog: it is drawn a hundred times a second. */
function Meter({ client, thresholdDb }: { client: Client; thresholdDb: number }): JSX.Element {
  const db = client.levelDb.value;
  return (
    <div class="meter" aria-hidden="true">
      <div class={`meter-bar${db >= thresholdDb ? ' is-open' : ''}`} style={{ width: share(db) }} />
      <div class="meter-mark" style={{ left: share(thresholdDb) }} />
    </div>
  );
}

function KeyField({ onChange }: { onChange: (code: string) => void }): JSX.Element {
  const [isListening, setListening] = useState(false);
  return (
    <Field label="Key to hold" hint="Works while this page has the focus.">
      {(attributes) => (
        <button
          {...attributes}
          type="button"
          class="button is-wide"
          onClick={() => setListening(true)}
          onBlur={() => setListening(false)}
          onKeyDown={(event) => {
            if (!isListening || event.key === 'Tab') return;
            event.preventDefault();
            event.stopPropagation();
            if (event.key !== 'Escape') onChange(event.code);
            setListening(false);
          }}
        >
          {isListening ? 'Press a key…' : `${keyName(settings.value.key)} (click to change)`}
        </button>
      )}
    </Field>
  );
}
