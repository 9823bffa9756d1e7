// What stands in the server's place in a proof of the media layer: a second peer connection of the same page, which speaks tones.

export const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Has the server answer an offer and send tones of these heights; gives its description once it has all of its addresses. */
export async function answering(server: RTCPeerConnection, offer: string, tones: number[]): Promise<string> {
  const sounds = new AudioContext();
  for (const hz of tones) server.addTrack(tone(sounds, hz));
  await server.setRemoteDescription({ type: 'offer', sdp: offer });
  await server.setLocalDescription(await server.createAnswer());
  while (server.iceGatheringState !== 'complete') await wait(50);
  return server.localDescription?.sdp ?? '';
}

function tone(context: AudioContext, hz: number): MediaStreamTrack {
  const oscillator = new OscillatorNode(context, { frequency: hz });
  const out = context.createMediaStreamDestination();
  oscillator.connect(out);
  oscillator.start();
  return out.stream.getAudioTracks()[0] as MediaStreamTrack;
}
