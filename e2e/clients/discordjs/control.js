// The control protocol: commands read from standard input, events written to standard output, one JSON object a line.
// `e2e/clients/README.md` describes it for all bots.

import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

const USAGE = 'usage: bot.js --api URL --token TOKEN --guild ID [--gateway URL]';

/** `--gateway` is accepted because all bots take the same options; discord.js always asks the REST API. */
export function options(args) {
  const text = { type: 'string' };
  try {
    const { values } = parseArgs({ args, options: { api: text, token: text, guild: text, gateway: text } });
    const missing = ['api', 'token', 'guild'].filter((name) => !values[name]);
    if (missing.length > 0) throw new TypeError(`--${missing[0]} is missing`);
    return values;
  } catch (error) {
    console.error(`${error.message}\n${USAGE}`);
    process.exit(2);
  }
}

/** Every event says when it was told, by the bot's own clock. */
export function emit(event, fields = {}) {
  process.stdout.write(`${JSON.stringify({ event, ...fields, at_ms: performance.now() })}\n`);
}

/** Hands each command to `carryOut` until told to quit, or until whoever gives them is gone. */
export async function obey(carryOut) {
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      const command = JSON.parse(line);
      if (command.do === 'quit') return;
      carryOut(command);
    } catch (error) {
      emit('error', { message: `${error.message}: ${line}` });
    }
  }
}
