//! The gRPC services, in Rust instead of a .proto file: their messages are those of `cluster-wire`.

use tonic_build::manual::{Builder, Method, Service};

fn main() {
    let streams = |service: &str, from_client: &str, from_server: &str| {
        let method = Method::builder()
            .name("serve")
            .route_name("Serve")
            .input_type(format!("cluster_wire::envelope::{from_client}"))
            .output_type(format!("cluster_wire::envelope::{from_server}"))
            .codec_path("tonic_prost::ProstCodec")
            .client_streaming()
            .server_streaming()
            .build();
        Service::builder().name(service).package("guildhall").method(method).build()
    };
    let services =
        [streams("Guilds", "FromCaller", "ToCaller"), streams("Voice", "VoiceMessage", "VoiceMessage")];
    Builder::new().compile(&services);
    println!("cargo:rerun-if-changed=build.rs");
}
