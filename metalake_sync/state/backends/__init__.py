"""Where the state of a manifest is kept between runs: the port (`base`) and its implementations (`file`)."""
