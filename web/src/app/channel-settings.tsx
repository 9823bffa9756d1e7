// What a channel is called and about, and for voice, how many it takes, how good it sounds and where it is.

import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';

import { ChannelType, type Channel, type Region } from '../protocol/objects';
import type { Client } from './client';
import { BITRATE_MAX, BITRATE_MIN, NAME_MAX, TOPIC_MAX, channelChange, channelDraft, isChanged, limitMax, type ChannelDraft } from './forms';
import { isVoice } from './model';
import { Dialog, Field } from './parts';
import { useSubmit } from './submit';

const BITRATE_STEP = 8_000;

/** `channel` as it was when the dialog was opened. */
export function ChannelSettings({ client, channel, onClose }: { client: Client; channel: Channel; onClose: () => void }): JSX.Element {
  const [draft, setDraft] = useState(channelDraft(channel));
  const set = (part: Partial<ChannelDraft>) => setDraft({ ...draft, ...part });
  const { isBusy, fields, general, submit } = useSubmit(async () => {
    const change = channelChange(channel, draft);
    if (isChanged(change)) await client.rest.changeChannel(channel.id, change);
  }, onClose);
  return (
    <Dialog title={`Settings of ${channel.name}`} onClose={onClose}>
      <form onSubmit={submit}>
        <Field label="Name" error={fields['name']}>
          {(attributes) => <input {...attributes} value={draft.name} onInput={(e) => set({ name: e.currentTarget.value })} required maxLength={NAME_MAX} autocomplete="off" autofocus />}
        </Field>
        {channel.type === ChannelType.TEXT && (
          <Field label="Topic" error={fields['topic']} hint="What it is about. It stands above the messages.">
            {(attributes) => <textarea {...attributes} rows={3} value={draft.topic} onInput={(e) => set({ topic: e.currentTarget.value })} maxLength={TOPIC_MAX} />}
          </Field>
        )}
        {isVoice(channel) && <VoiceFields client={client} channel={channel} draft={draft} set={set} fields={fields} />}
        <p class="form-error" role="alert">{general}</p>
        <button class="button is-primary is-wide" type="submit" disabled={isBusy}>Save</button>
      </form>
    </Dialog>
  );
}

interface VoiceFieldsProps {
  client: Client;
  channel: Channel;
  draft: ChannelDraft;
  set: (part: Partial<ChannelDraft>) => void;
  fields: Readonly<Record<string, string>>;
}

function VoiceFields({ client, channel, draft, set, fields }: VoiceFieldsProps): JSX.Element {
  const [regions, setRegions] = useState<Region[]>([]);
  useEffect(() => {
    // Without the list there is nothing to choose from, and the rest can be set all the same.
    client.rest.regions(channel.guild_id).then(setRegions, () => undefined);
  }, [client, channel.guild_id]);
  const isUnknown = draft.region !== '' && !regions.some((region) => region.id === draft.region);
  const kbits = `${Math.round(draft.bitrate / 1_000)} kbit/s`;
  return (
    <>
      <Field label="At most this many people" error={fields['user_limit']} hint="0 is as many as like. Who may move others gets in all the same.">
        {(attributes) => (
          <input {...attributes} type="number" inputMode="numeric" min={0} max={limitMax(channel)} step={1} value={draft.userLimit} onInput={(e) => set({ userLimit: Number(e.currentTarget.value) })} required />
        )}
      </Field>
      <Field label={`Bitrate, ${kbits}`} error={fields['bitrate']} hint="64 is good for voices, 96 and more for music. It holds for whoever joins from then on.">
        {(attributes) => (
          <input {...attributes} type="range" min={BITRATE_MIN} max={BITRATE_MAX} step={BITRATE_STEP} value={draft.bitrate} aria-valuetext={kbits} onInput={(e) => set({ bitrate: Number(e.currentTarget.value) })} />
        )}
      </Field>
      {(regions.length > 1 || draft.region !== '') && (
        <Field label="Region" error={fields['rtc_region']} hint="Near those who talk here. Whoever is in the channel moves at once, and hears a short gap at the most.">
          {(attributes) => (
            <select {...attributes} value={draft.region} onChange={(e) => set({ region: e.currentTarget.value })}>
              <option value="">Where the guild is</option>
              {regions.map((region) => <option key={region.id} value={region.id}>{region.name}</option>)}
              {isUnknown && <option value={draft.region}>{draft.region}</option>}
            </select>
          )}
        </Field>
      )}
    </>
  );
}
