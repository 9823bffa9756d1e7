-- How clients are to send their cameras in a voice channel. 1 leaves it to them, as it was.

ALTER TABLE channels ADD COLUMN video_quality BIGINT NOT NULL DEFAULT 1;
