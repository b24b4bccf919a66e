#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| vk_fuzz::spdy(data));
