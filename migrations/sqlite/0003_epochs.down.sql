-- Lost: nothing, since nothing was added here.
SELECT 1;
