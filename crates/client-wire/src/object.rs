//! Objects inside events and REST replies (users, guilds, channels, members, messages, voice states, invites).
