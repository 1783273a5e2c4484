-- Nothing was added.
SELECT 1;
