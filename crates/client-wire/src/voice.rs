//! The voice gateway, versions 4 to 9: frames, opcodes, close codes.
