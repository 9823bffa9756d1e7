// The types and numbers of src/protocol are written by hand, for readers; the server's own are in crates/client-wire and
// crates/model. This reads both as text and holds the first to the second, so that neither changes alone.

import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

import { GatewayClose, Intent, Op } from '../src/protocol/gateway';
import { ChannelType } from '../src/protocol/objects';
import { Permission, VOICE_PERMISSIONS } from '../src/protocol/permissions';
import { Speaking, VoiceClose, VoiceOp } from '../src/protocol/voice';

const ROOT = resolve(import.meta.dirname, '../..');
const text = (path: string) => readFileSync(join(ROOT, path), 'utf8');
const WIRE = 'crates/client-wire/src';

/** What stands in the braces after `head`; it must be there. */
function body(source: string, head: string): string {
  const at = source.indexOf(`${head} {`);
  expect(at, head).toBeGreaterThanOrEqual(0);
  const end = source.slice(at).search(/^\s{0,4}\}/m);
  return source.slice(at + head.length, at + end);
}

const shout = (name: string) => name.replaceAll(/(?<=[a-z])(?=[A-Z])/g, '_').toUpperCase();

/** `Name = 1,` and `const NAME = 1 << 2;` and `const NAME: u8 = 4;`, by their names in TypeScript. */
function numbers(source: string): Map<string, bigint> {
  const found = [...source.matchAll(/^\s*(?:pub )?(?:const )?(\w+)(?:: \w+)? = (?:(\d+) << )?(\d+)[,;]/gm)];
  return new Map(found.map(([, name = '', base, last = '']) => [shout(name), base === undefined ? BigInt(last) : BigInt(base) << BigInt(last)]));
}

describe.each([
  ['opcodes', Op, `${WIRE}/gateway/numbers.rs`, 'pub enum Opcode'],
  ['close codes', GatewayClose, `${WIRE}/gateway/numbers.rs`, 'pub enum CloseCode'],
  ['intents', Intent, `${WIRE}/gateway/numbers.rs`, 'pub struct Intents: u64'],
  ['opcodes of voice', VoiceOp, `${WIRE}/voice.rs`, 'Op: u8'],
  ['close codes of voice', VoiceClose, `${WIRE}/voice.rs`, 'CloseCode: u16'],
  ['bits of SPEAKING', Speaking, `${WIRE}/voice.rs`, 'pub mod speaking'],
  ['permissions', Permission, 'crates/model/src/permissions.rs', 'pub struct Permissions: u64'],
  ['kinds of channels', ChannelType, 'crates/model/src/guild.rs', 'pub enum ChannelKind'],
])('%s', (_, ours: Record<string, number | bigint>, path, head) => {
  const theirs = numbers(body(text(path), head));
  it.each(Object.entries(ours))('%s is what the server has', (name, value) => {
    expect(theirs.get(name), name).toBe(BigInt(value));
  });
});

it('the client knows every close code and every permission of the server', () => {
  const names = (path: string, head: string) => [...numbers(body(text(path), head)).keys()];
  expect(Object.keys(GatewayClose)).toEqual(names(`${WIRE}/gateway/numbers.rs`, 'pub enum CloseCode'));
  expect(Object.keys(VoiceClose)).toEqual(names(`${WIRE}/voice.rs`, 'CloseCode: u16'));
  expect(Object.keys(Permission)).toEqual(names('crates/model/src/permissions.rs', 'pub struct Permissions: u64'));
});

it('what members lose without CONNECT is what the server takes', () => {
  const source = text('crates/model/src/permissions.rs');
  const sum = /const VOICE_PERMISSIONS: Permissions =([^;]*);/.exec(source)?.[1] ?? '';
  const names = [...sum.matchAll(/Permissions::(\w+)/g)].map(([, name]) => name as keyof typeof Permission);
  expect(names.length).toBeGreaterThan(0);
  expect(names.reduce((bits, name) => bits | Permission[name], 0n)).toBe(VOICE_PERMISSIONS);
});

interface Field {
  type: string;
  /** Left out where there is nothing to say. */
  isOptional: boolean;
}

/** The fields of a struct as JSON has them, with the TypeScript type of each. */
function struct(name: string, source: string): Map<string, Field> {
  const fields = new Map<string, Field>();
  const parts = body(source, `pub struct ${name}`).matchAll(/((?:^\s*(?:#\[.*\]|\/\/\/.*)\n)*)^\s*pub (\w+): (.+),$/gm);
  for (const [, attributes = '', rustName = '', rustType = ''] of parts) {
    if (attributes.includes('flatten')) {
      const inner = /^(?:Option<)?(\w+)/.exec(rustType)?.[1] ?? '';
      // What is flattened may be absent as a whole.
      for (const [key, field] of struct(inner, source)) fields.set(key, { ...field, isOptional: field.isOptional || rustType.startsWith('Option') });
      continue;
    }
    const isOptional = attributes.includes('skip_serializing_if');
    const optional = /^Option<(.+)>$/.exec(rustType)?.[1];
    const type = optional === undefined ? typeOf(rustType) : isOptional ? typeOf(optional) : `${typeOf(optional)} | null`;
    fields.set(/rename = "(\w+)"/.exec(attributes)?.[1] ?? rustName, { type, isOptional });
  }
  return fields;
}

function typeOf(rust: string): string {
  const list = /^Vec<(.+)>$/.exec(rust)?.[1];
  if (list !== undefined) return `${typeOf(list)}[]`;
  if (/^[ui](8|16|32|64)$/.test(rust)) return 'number';
  if (/^\w+Id$/.test(rust)) return 'Id';
  if (rust === 'bool') return 'boolean';
  return rust === 'String' || rust === 'Permissions' ? 'string' : rust;
}

/** The fields of an interface, those it extends included. */
function fieldsOf(name: string, source: string): Map<string, Field> {
  const head = new RegExp(`^export interface ${name}(?: extends (\\w+))? \\{$`, 'm').exec(source);
  expect(head, name).not.toBeNull();
  const inherited = head?.[1] === undefined ? new Map<string, Field>() : fieldsOf(head[1], source);
  const inside = source.slice((head?.index ?? 0) + (head?.[0].length ?? 0)).split(/^\}/m)[0] ?? '';
  for (const [, key = '', mark, type = ''] of inside.matchAll(/^ {2}(\w+)(\?)?: (.+);$/gm)) inherited.set(key, { type, isOptional: mark === '?' });
  return inherited;
}

/** Where the server's name for a type is another one, or its type is seen through a narrower eye. */
const SAME: Record<string, string> = { UserRef: '{ id: Id }', InviteGuild: '{ id: Id; name: string }', InviteChannel: '{ id: Id; name: string; type: number }' };

describe.each([
  ['User', 'User'],
  ['Role', 'Role'],
  ['Overwrite', 'Overwrite'],
  ['Channel', 'Channel'],
  ['MemberFields', 'Member'],
  ['VoiceState', 'VoiceState'],
  ['VoiceServerUpdate', 'VoiceServer'],
  ['Presence', 'Presence'],
  ['Guild', 'Guild'],
  ['GuildCreate', 'GuildCreate'],
  ['Ban', 'Ban'],
  ['Message', 'Message'],
  ['Invite', 'Invite'],
])('%s', (ours, theirs) => {
  const objects = text(`${WIRE}/object.rs`) + text(`${WIRE}/object/message.rs`);
  const wire = struct(theirs, objects);
  it.each([...fieldsOf(ours, text('web/src/protocol/objects.ts'))])('%s is a field of the server’s', (name, field) => {
    const there = wire.get(name);
    expect(there, name).toBeDefined();
    const type = SAME[there?.type ?? ''] ?? there?.type;
    // The nonce is whatever the sender gave, and the client gives a string.
    if (type === 'serde_json::Value') return;
    // Inside a message the author is left out of the member.
    const seen = name === 'member' && ours === 'Message' ? field.type.replace('MemberFields', 'Member') : field.type;
    expect(seen, name).toBe(type);
    expect(field.isOptional, `whether ${name} may be absent`).toBe(there?.isOptional);
  });
});
