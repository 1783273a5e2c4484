-- Lost: which history of the database this is, where that is kept. No booking, no seat and no layout.
SELECT 1;
