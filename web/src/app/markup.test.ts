import { expect, it } from 'vitest';

import { readMarkup, type Part } from './markup';

const check = (text: string, ...expected: Part[]) => expect(readMarkup(text), text).toEqual(expected);

it('emphasis is what stands between two marks, and may stand in another', () => {
  check('a **b** c', 'a ', { is: 'bold', parts: ['b'] }, ' c');
  check('*a* _b_ ~~c~~', { is: 'italic', parts: ['a'] }, ' ', { is: 'italic', parts: ['b'] }, ' ', { is: 'strike', parts: ['c'] });
  check('**a *b* c**', { is: 'bold', parts: ['a ', { is: 'italic', parts: ['b'] }, ' c'] });
});

it('signs that mean themselves stay', () => {
  check('2 * 3 * 4', '2 * 3 * 4');
  check('snake_case_name', 'snake_case_name');
  check('** not bold **', '** not bold **');
  check('<b>&amp;</b>', '<b>&amp;</b>');
  check('');
});

it('nothing is read inside code', () => {
  check('`**a**` b', { is: 'code', text: '**a**' }, ' b');
  check('```rust\nlet *a;\n```', { is: 'block', text: 'let *a;' });
  check('```a\n  b```', { is: 'block', text: '  b' });
});

it('an address ends before the end of its sentence', () => {
  check('See https://a.example/b_c_(d)?e=1.', 'See ', { is: 'link', text: 'https://a.example/b_c_(d)?e=1' }, '.');
  check('(https://a.example)', '(', { is: 'link', text: 'https://a.example' }, ')');
  check('javascript:alert(1)', 'javascript:alert(1)');
});

it('mentions name users by id', () => {
  check('<@12> and <@!34>', { is: 'mention', userId: '12' }, ' and ', { is: 'mention', userId: '34' });
});

it('a long message of marks takes no time', () => {
  const began = performance.now();
  readMarkup('*_~`'.repeat(500));
  readMarkup('**a'.repeat(660));
  expect(performance.now() - began).toBeLessThan(1_000);
});
