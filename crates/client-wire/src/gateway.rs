//! The main gateway, version 10: frames, opcodes, intents, close codes.
