-- Lost: who the operators of the installation are.
DROP INDEX invitations_by_address;
DROP TABLE operators;
