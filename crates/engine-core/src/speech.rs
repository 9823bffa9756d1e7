//! Sound for the tests: something with the shape of speech, made without a speech synthesiser so that it is the same
//! everywhere. A buzzing source goes through three moving resonances, syllable by syllable, with hisses and pauses.

use crate::SAMPLE_RATE_HZ;

/// Numbers that look random and are the same every time.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Between 0 and 1.
    pub(crate) fn unit(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1_u64 << 24) as f32
    }

    pub(crate) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }
}

pub(crate) fn noise(seed: u64, samples: usize, volume: f32) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..samples).map(|_| random.between(-volume, volume)).collect()
}

/// A resonance with two poles.
#[derive(Default)]
struct Resonance {
    past: [f32; 2],
}

impl Resonance {
    fn run(&mut self, input: f32, hz: f32, width_hz: f32) -> f32 {
        let rate = SAMPLE_RATE_HZ as f32;
        let radius = (-std::f32::consts::PI * width_hz / rate).exp();
        let turn = 2.0 * radius * (std::f32::consts::TAU * hz / rate).cos();
        let output = (1.0 - radius) * input + turn * self.past[0] - radius * radius * self.past[1];
        self.past = [output, self.past[0]];
        output
    }
}

struct Syllable {
    seconds: f32,
    pitch_hz: f32,
    formants: [f32; 3],
    hiss: f32,
    silent: bool,
}

impl Syllable {
    fn random(random: &mut Random) -> Self {
        Self {
            seconds: random.between(0.1, 0.28),
            pitch_hz: random.between(95.0, 150.0),
            formants: [
                random.between(280.0, 850.0),
                random.between(900.0, 2_300.0),
                random.between(2_400.0, 3_400.0),
            ],
            hiss: if random.unit() < 0.25 { 1.0 } else { 0.02 },
            silent: random.unit() < 0.12,
        }
    }
}

/// `seconds` of something like speech; another seed says something else.
pub(crate) fn sentence(seed: u64, seconds: f32) -> Vec<f32> {
    let mut random = Random::new(seed);
    let total = (seconds * SAMPLE_RATE_HZ as f32) as usize;
    let mut out = Vec::with_capacity(total);
    let mut resonances: [Resonance; 3] = Default::default();
    let mut phase = 0.0_f32;
    let mut from = Syllable::random(&mut random);
    while out.len() < total {
        let to = Syllable::random(&mut random);
        let len = (to.seconds * SAMPLE_RATE_HZ as f32) as usize;
        for i in 0..len.min(total - out.len()) {
            let along = (i as f32 / len as f32 * 2.0).min(1.0);
            phase = (phase + to.pitch_hz / SAMPLE_RATE_HZ as f32).fract();
            let buzz = if phase < 0.08 { 1.0 } else { -0.087 };
            let source = buzz * (1.0 - to.hiss * 0.9) + random.between(-1.0, 1.0) * to.hiss;
            let envelope =
                if to.silent { 0.0 } else { (std::f32::consts::PI * i as f32 / len as f32).sin().powf(0.4) };
            let mut sample = 0.0;
            for (n, resonance) in resonances.iter_mut().enumerate() {
                let hz = from.formants[n] + (to.formants[n] - from.formants[n]) * along;
                sample += resonance.run(source * envelope, hz, 60.0 + 40.0 * n as f32) * [5.0, 3.0, 1.5][n];
            }
            out.push(sample.clamp(-0.9, 0.9));
        }
        from = to;
    }
    out
}
