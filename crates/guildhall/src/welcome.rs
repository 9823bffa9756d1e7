//! What a person at a terminal reads once the server runs.

use crate::config::Config;

pub fn text(config: &Config, http: &str) -> String {
    let data = config.data.display();
    let mut text = format!(
        "\nGuildhall is running.\n\n  \
         gateway and REST   {http}/\n  \
         voice              {host}, media over UDP at {media}\n  \
         data               {data}\n\n",
        host = config.host,
        media = config.media_ip,
    );
    if config.demo > 0 {
        text += &format!(
            "A guild to try, with accounts and tokens: {data}/demo.json. Two terminals that talk to each other:\n\n  \
             guildhall talk --demo {data} --as 0 --tone 440\n  \
             guildhall talk --demo {data} --as 1 --record heard\n\n"
        );
    } else {
        text += &format!(
            "Next: make an account with `guildhall ctl --data {data} user create NAME`, or start with `--demo 3` to have\n\
             a guild, channels and accounts to try at once.\n\n"
        );
    }
    if config.http.ip().is_loopback() {
        text += "Only this machine can reach it. For others, start it with `--announce HOST`, the name or address they know it by.\n\n";
    }
    text += "Stop it with Ctrl-C.\n";
    text
}
