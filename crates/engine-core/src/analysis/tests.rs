use super::*;
use crate::speech;

fn opus_round_trip(samples: &[f32]) -> Vec<f32> {
    let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Voip).unwrap();
    encoder.set_bitrate(opus::Bitrate::Bits(64_000)).unwrap();
    let mut decoder = opus::Decoder::new(48_000, opus::Channels::Mono).unwrap();
    let mut out = vec![0.0; samples.len() / FRAME_SAMPLES * FRAME_SAMPLES];
    for (frame, decoded) in samples.chunks_exact(FRAME_SAMPLES).zip(out.chunks_exact_mut(FRAME_SAMPLES)) {
        let packet = encoder.encode_vec_float(frame, 1275).unwrap();
        decoder.decode_float(&packet, decoded, false).unwrap();
    }
    out
}

#[test]
fn the_same_recording_matches_wholly_wherever_it_lies() {
    let speech = speech::sentence(1, 4.0);
    let same = compare(&speech, &speech);
    assert_eq!((same.fraction, same.lag_samples), (1.0, 0));
    let mut later = vec![0.0; 31_337];
    later.extend_from_slice(&speech);
    let shifted = compare(&speech, &later);
    assert_eq!((shifted.fraction, shifted.lag_samples), (1.0, 31_337));
    let earlier = compare(&later, &speech);
    assert_eq!((earlier.fraction, earlier.lag_samples), (1.0, -31_337));
}

#[test]
fn opus_matches_and_other_words_and_noise_do_not() {
    let speech = speech::sentence(1, 6.0);
    let coded = compare(&speech, &opus_round_trip(&speech));
    assert!(coded.frames > 150 && coded.fraction >= 0.95, "{coded:?}");
    let other = compare(&speech, &speech::sentence(2, 6.0));
    assert!(other.fraction < 0.3, "{other:?}");
    let noise = compare(&speech, &speech::noise(3, speech.len(), 0.1));
    assert!(noise.fraction < 0.1, "{noise:?}");
    let silence = compare(&speech, &vec![0.0; speech.len()]);
    assert_eq!(silence.matched, 0);
}

#[test]
fn a_hole_in_the_recording_costs_its_share() {
    let speech = speech::sentence(1, 6.0);
    let mut holed = speech.clone();
    let third = speech.len() / 3;
    holed[third..2 * third].fill(0.0);
    let likeness = compare(&speech, &holed);
    assert!((0.5..0.8).contains(&likeness.fraction), "{likeness:?}");
}

#[test]
fn sound_that_a_receiver_has_stretched_and_shortened_is_there_all_the_same() {
    let speech = speech::sentence(1, 6.0);
    let third = speech.len() / 3;
    let mut stretched = speech[..third].to_vec();
    stretched.extend_from_slice(&speech[third - 4_800..2 * third]);
    stretched.extend_from_slice(&speech[2 * third + 2_400..]);
    let likeness = compare(&speech, &stretched);
    assert!(likeness.fraction >= 0.85, "{likeness:?}");
}

#[test]
fn tones_are_found_with_their_frequency_and_level() {
    let samples: Vec<f32> = (0..96_000)
        .map(|i| {
            let at = |hz: f32| (std::f32::consts::TAU * hz * i as f32 / 48_000.0).sin();
            0.5 * at(440.0) + 0.25 * at(1_000.0) + 0.1 * at(3_333.3)
        })
        .collect();
    let tones = strongest_tones(&samples, 3);
    let check = |tone: &Tone, hz: f32, level: f32| {
        assert!((tone.hz - hz).abs() < 1.0 && (tone.level_db - level).abs() < 1.5, "{tone:?}");
    };
    check(&tones[0], 440.0, -6.0);
    check(&tones[1], 1_000.0, -12.0);
    check(&tones[2], 3_333.3, -20.0);
    assert_eq!(strongest_tones(&[0.0; 48_000], 3), []);
}
