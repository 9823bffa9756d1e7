// What people write by habit: emphasis, code, links and mentions. Everything else is text as it stands, HTML above all.

import type { Id } from '../protocol/objects';

export type Part =
  | string
  | { is: 'block' | 'code' | 'link'; text: string }
  | { is: 'mention'; userId: Id }
  | { is: 'bold' | 'italic' | 'strike'; parts: Part[] };

/** From a mark to the same mark, with no space inside at either end. */
const between = (mark: string) => `${mark}(\\S(?:[\\s\\S]*?\\S)?)${mark}`;

const PATTERN = new RegExp(
  [
    '```(?:[\\w+-]*\\n)?([\\s\\S]+?)\\n?```',
    '`([^`\\n]+)`',
    // A full stop or a bracket after an address belongs to the sentence.
    '(https?://[^\\s<>"]*[^\\s<>".,:;!?)\\]*~])',
    '<@!?(\\d+)>',
    between('\\*\\*'),
    '(?<![\\w*])\\*([^\\s*](?:[\\s\\S]*?\\S)?)\\*(?![\\w*])',
    `(?<!\\w)${between('_')}(?!\\w)`,
    between('~~'),
  ].join('|'),
  'g',
);

export function readMarkup(text: string): Part[] {
  const parts: Part[] = [];
  let end = 0;
  for (const match of text.matchAll(PATTERN)) {
    if (match.index > end) parts.push(text.slice(end, match.index));
    end = match.index + match[0].length;
    parts.push(partOf(match));
  }
  if (end < text.length) parts.push(text.slice(end));
  return parts;
}

function partOf([whole, block, code, link, userId, bold, star, underscore, strike]: RegExpExecArray): Part {
  if (block !== undefined) return { is: 'block', text: block };
  if (code !== undefined) return { is: 'code', text: code };
  if (link !== undefined) return { is: 'link', text: link };
  if (userId !== undefined) return { is: 'mention', userId };
  if (bold !== undefined) return { is: 'bold', parts: readMarkup(bold) };
  const italic = star ?? underscore;
  if (italic !== undefined) return { is: 'italic', parts: readMarkup(italic) };
  return strike === undefined ? whole : { is: 'strike', parts: readMarkup(strike) };
}
