-- Lost: an index of bookings by buyer, which is written with each hold again.
DROP TABLE buyer_segments;
DROP TABLE buyer_index;
