// A page that goes leaves the voice channel: nobody should talk to an empty chair until the server finds out. When it is loaded anew
// it says so, because who only pressed a key wonders.

import { notify } from './notices';
import { rememberLeaving, wasLeaving } from './settings';

/** Watches over a client's page until the returned function is called. */
export function leaveWithPage(isInVoice: () => boolean, leave: () => void): () => void {
  const goes = () => {
    if (isInVoice()) rememberLeaving();
    leave();
  };
  addEventListener('pagehide', goes);
  if (wasLeaving()) notify('info', 'You left the voice channel when this page was loaded anew. Choose the channel to join again.');
  return () => removeEventListener('pagehide', goes);
}
