// A form's submission: busy while it runs, its failure in words.

import { useState } from 'preact/hooks';

import { words } from './notices';
import { RestError } from './rest';

interface Failure {
  text: string;
  /** What is wrong with which field, by the server's names. */
  fields: Readonly<Record<string, string>>;
}

export function useSubmit(doing: () => Promise<unknown>, onDone: () => void) {
  const [isBusy, setBusy] = useState(false);
  const [failure, setFailure] = useState<Failure | null>(null);
  const submit = async (event: Event) => {
    event.preventDefault();
    if (isBusy) return;
    setBusy(true);
    try {
      await doing();
      onDone();
    } catch (error) {
      setFailure({ text: words(error), fields: error instanceof RestError ? error.fields : {} });
      setBusy(false);
    }
  };
  const fields = failure?.fields ?? {};
  return {
    isBusy,
    /** For forms of one field. */
    error: failure?.text,
    fields,
    /** What is wrong with no field of those in particular. */
    general: Object.keys(fields).length === 0 ? failure?.text : undefined,
    submit: (event: Event) => void submit(event),
  };
}
